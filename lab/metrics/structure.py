"""Structure preservation rate: are the target's part borders where the result has its edges?"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

from lab.metrics.colour_space import Reals, ciede2000, srgb_to_lab
from lab.metrics.figure import NOTHING, Figure
from lab.metrics.regions import Bytes, Flags, blurred_inside, part_borders
from lab.pairs import Pair

CALIBRATED_AT_PX = 256
"""Side of the picture for which the following lengths hold; they grow with it."""
TOLERANCE_PX = 2.0
HALF_PX = 0.5
"""Borders are cracks between pixels, and are marked by the pixels on both sides of them."""
BAND_PX = 4.0
"""Edges deeper inside a part than this are its texture's."""
SIGMA_PX = 1.0
THRESHOLD = 2.0
"""Lab units per pixel: a step of 5 has this slope under a blur of sigma 1."""
LEAST_CONTRAST = 5.0
"""CIEDE2000 between the two sides of a border in the truth, below which nobody could see it."""


@dataclass(frozen=True)
class TrueBorders:
    """The edges of a pair's truth; the same for all its results. Arrays `[height, width]`."""

    counted: Flags
    """Pixels at part borders that the truth shows."""
    to_counted: Reals
    to_any: Reals
    """Pixels to the nearest border, also those that are not counted."""
    to_true_edge: Reals


def score_structure(result: Bytes, borders: TrueBorders) -> Figure:
    """Boundary F1, 0..1. Edges that the truth has too never count as wrong."""
    scale = len(result) / CALIBRATED_AT_PX
    if not borders.counted.any():
        return NOTHING
    edges = find_edges(result)
    reach = max(TOLERANCE_PX * scale, 1.0) + HALF_PX
    right = edges & (borders.to_counted <= reach)
    excused = (borders.to_any <= reach) | (borders.to_true_edge <= reach)
    wrong = edges & ~right & ~excused & (borders.to_any <= BAND_PX * scale + HALF_PX)
    found = _away(edges)[borders.counted] <= reach
    precision = right.sum() / max(1, right.sum() + wrong.sum())
    recall = found.mean()
    return Figure(float(2.0 * precision * recall / max(precision + recall, 1e-12)))


def find_edges(picture: Bytes) -> Flags:
    """Ridges of the Lab gradient (Di Zenzo's, over all three channels) steeper than the threshold."""
    lab = srgb_to_lab(picture)
    down = gaussian_filter(lab, (SIGMA_PX, SIGMA_PX, 0.0), order=(1, 0, 0))
    right = gaussian_filter(lab, (SIGMA_PX, SIGMA_PX, 0.0), order=(0, 1, 0))
    yy, xx, xy = (down * down).sum(-1), (right * right).sum(-1), (down * right).sum(-1)
    angle = 0.5 * np.arctan2(2.0 * xy, xx - yy)
    strength = np.sqrt(0.5 * (xx + yy + np.hypot(xx - yy, 2.0 * xy)))
    rows, columns = np.indices(strength.shape)
    steps = np.sin(angle), np.cos(angle)
    before, after = (
        map_coordinates(strength, [rows + sign * steps[0], columns + sign * steps[1]], order=1, mode="nearest")
        for sign in (-1, 1)
    )
    edges: Flags = (strength >= THRESHOLD) & (strength >= before) & (strength > after)
    return edges


def true_borders(pair: Pair) -> TrueBorders:
    """The borders of the target's parts, as the truth shows them."""
    scale = pair.target.part.shape[0] / CALIBRATED_AT_PX
    every = part_borders(pair.target.part)
    counted = every & (_contrast(pair, 1.5 * scale) >= LEAST_CONTRAST)
    return TrueBorders(counted, _away(counted), _away(every), _away(find_edges(pair.truth.image)))


def _contrast(pair: Pair, sigma: float) -> Reals:
    """CIEDE2000 in the truth between each pixel's part and the most different part beside it; 0 inside parts."""
    part = pair.target.part
    lab = np.zeros((*part.shape, 3))
    for label in np.unique(part):
        here = part == label
        lab[here] = srgb_to_lab(blurred_inside(pair.truth.image / 255.0, here, sigma)[here])
    contrast = np.zeros(part.shape)
    for axis in (0, 1):
        low = tuple(slice(None, -1) if i == axis else slice(None) for i in (0, 1))
        high = tuple(slice(1, None) if i == axis else slice(None) for i in (0, 1))
        step = ciede2000(lab[low], lab[high]) * (part[low] != part[high])
        contrast[low] = np.maximum(contrast[low], step)
        contrast[high] = np.maximum(contrast[high], step)
    return contrast


def _away(flags: Flags) -> Reals:
    """Pixels to the nearest marked one; infinite where none is."""
    if not flags.any():
        return np.full(flags.shape, np.inf)
    distance: Reals = distance_transform_edt(~flags)
    return distance
