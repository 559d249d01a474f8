"""Methods that work on pictures, without a network in their result."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from core.finish import Finished, Proposal, stitch
from core.images.canvas import extrapolate
from core.matching.correspondence import Correspondence
from core.matching.warp import rearrange_picture
from core.pipeline import Figure
from lab.baselines.case import Bytes, Case
from lab.baselines.guided import guided_filter
from lab.metrics.colour_space import Reals, lab_to_srgb, srgb_to_lab

GUIDE_RADIUS = 1 / 16
"""Of the picture's side."""
GUIDE_EPSILON = 1e-3
LEAST_VARIANCE = 1e-6
"""Of colours 0..1 along a direction: less than a level's."""


def reinhard(case: Case) -> Bytes:
    """Colour transfer by mean and deviation of Lab channels (Reinhard et al., IEEE CG&A 2001), between the figures."""
    inside, there = case.pair.target.part > 0, case.pair.reference.part > 0
    own, other = srgb_to_lab(case.pair.target.image[inside]), srgb_to_lab(case.pair.reference.image[there])
    moved: Reals = (own - own.mean(0)) / np.maximum(own.std(0), 1e-6) * other.std(0) + other.mean(0)
    result = case.pair.target.image.copy()
    result[inside] = np.rint(lab_to_srgb(moved) * 255.0).astype(np.uint8)
    return result


def colour_transfer(case: Case) -> Bytes:
    """One linear map of colours that gives the target's figure the mean and covariance of the reference's, in sRGB, and
    moves colours least (Monge-Kantorovich; Pitie and Kokaram, CVMP 2007). Its edge is blended by the target's mask."""
    inside, there = case.pair.target.part > 0, case.pair.reference.part > 0
    own, other = case.pair.target.image[inside] / 255.0, case.pair.reference.image[there] / 255.0
    slope = optimal_slope(np.cov(own.T), np.cov(other.T))
    image, weight = case.pair.target.image / 255.0, case.pair.target.weights[..., None]
    mapped = np.clip((image - own.mean(axis=0)) @ slope.T + other.mean(axis=0), 0.0, 1.0)
    blended: Bytes = np.rint((image + weight * (mapped - image)) * 255.0).astype(np.uint8)
    return blended


def optimal_slope(own: Reals, other: Reals) -> Reals:
    """The linear part of the optimal transport between normal distributions of given covariances `[n, n]`:
    `own^-1/2 (own^1/2 other own^1/2)^1/2 own^-1/2`; variances of `own` count as `LEAST_VARIANCE` at least."""
    values, directions = np.linalg.eigh(own)
    values = np.maximum(values, LEAST_VARIANCE)
    root = directions * np.sqrt(values) @ directions.T
    back = directions / np.sqrt(values) @ directions.T
    squares, axes = np.linalg.eigh(root @ other @ root)
    slope: Reals = back @ (axes * np.sqrt(np.maximum(squares, 0.0)) @ axes.T) @ back
    return slope


def moved(case: Case) -> Bytes:
    """The picture that the sampler is drawn to: the reference's pixels, extrapolated beyond its mask, at the matched
    places, under the target's shading, at the target's own size. No diffusion network in the result."""
    target, params = case.inputs.target, case.params
    ends = []
    for figure, found in zip(case.figures, case.own_correspondences, strict=True):
        scene, selected = figure.scene, figure.selected
        proposal = Proposal(scene, target, selected, found, params.latent)
        unchanged = scene.target_latent
        ends.append(Finished(scene, proposal, unchanged, unchanged, selected.target_mask))
    drawn: Bytes = stitch(target, ends, params.output).numpy()
    return drawn


def warp(case: Case) -> Bytes:
    """The reference's pixels at the places that the network matched, filtered with the target as the guide."""
    return warped(case, case.own_correspondences)


def warped(case: Case, maps: Sequence[Correspondence]) -> Bytes:
    """As `warp`, by any correspondences, one for each figure."""
    return case.finish([_warped_on_canvas(figure, found) for figure, found in zip(case.figures, maps, strict=True)])


def _warped_on_canvas(figure: Figure, found: Correspondence) -> Tensor:
    target, reference = figure.scene.target, figure.scene.regions[0].reference
    appearance = extrapolate(reference.picture, reference.mask)
    moved = rearrange_picture(appearance, found, target.mask, guide=target.picture)
    radius = max(1, round(GUIDE_RADIUS * len(target.mask)))
    filtered = guided_filter(moved, target.picture, target.mask, radius=radius, epsilon=GUIDE_EPSILON)
    return torch.where(target.mask > 0.0, filtered, target.picture).clamp(0.0, 1.0)
