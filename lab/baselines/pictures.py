"""Methods that work on pictures, without a network in their result."""

import numpy as np
import torch

from core.matching.correspondence import Correspondence
from core.matching.warp import rearrange_picture
from lab.baselines.case import Bytes, Case
from lab.baselines.guided import guided_filter
from lab.metrics.colour_space import Reals, lab_to_srgb, srgb_to_lab

GUIDE_RADIUS = 1 / 16
"""Of the picture's side."""
GUIDE_EPSILON = 1e-3


def reinhard(case: Case) -> Bytes:
    """Colour transfer by mean and deviation of Lab channels (Reinhard et al., IEEE CG&A 2001), between the figures."""
    inside, there = case.pair.target.part > 0, case.pair.reference.part > 0
    own, other = srgb_to_lab(case.pair.target.image[inside]), srgb_to_lab(case.pair.reference.image[there])
    moved: Reals = (own - own.mean(0)) / np.maximum(own.std(0), 1e-6) * other.std(0) + other.mean(0)
    result = case.pair.target.image.copy()
    result[inside] = np.rint(lab_to_srgb(moved) * 255.0).astype(np.uint8)
    return result


def warp(case: Case) -> Bytes:
    """The reference's pixels at the places that the network matched, filtered with the target as the guide."""
    return warped(case, case.own_correspondence)


def warped(case: Case, found: Correspondence) -> Bytes:
    """As `warp`, by any correspondence."""
    target, (region,) = case.scene.target, case.scene.regions
    moved = rearrange_picture(region.appearance, found, target.mask, guide=target.picture)
    radius = max(1, round(GUIDE_RADIUS * len(target.mask)))
    filtered = guided_filter(moved, target.picture, target.mask, radius=radius, epsilon=GUIDE_EPSILON)
    return case.finish(torch.where(target.mask > 0.0, filtered, target.picture).clamp(0.0, 1.0))
