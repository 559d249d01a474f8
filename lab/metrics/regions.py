"""Which pixels of a target are counted, and how a target's parts look in the truth."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from lab.metrics.colour_space import Reals
from lab.pairs import Pair
from lab.scenes import PARTS
from lab.scenes.textures import Appearance

Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]

BORDER_MARGIN_PX = 2.0
"""Counted pixels keep this distance from every part border, where light darkens and pixels mix two parts."""
SMALLEST_PART_PX = 64
"""Parts with fewer pixels are not counted."""


@dataclass(frozen=True)
class CountedPart:
    """A part of the target, with the pixels by which it is judged."""

    name: str
    group: str
    half_size: tuple[float, float]
    whole: Flags
    """All its pixels."""
    counted: Flags
    """Those away from borders whose true counterpart the reference shows; at least one."""


def part_borders(part: Bytes) -> Flags:
    """Pixels with a neighbour (of four) in another part."""
    borders = np.zeros(part.shape, np.bool_)
    for axis in (0, 1):
        differs = np.diff(part.astype(np.int16), axis=axis) != 0
        borders[tuple(slice(None, -1) if i == axis else slice(None) for i in (0, 1))] |= differs
        borders[tuple(slice(1, None) if i == axis else slice(None) for i in (0, 1))] |= differs
    return borders


def distance_to(borders: Flags) -> Reals:
    """Pixels from every pixel's centre to the nearest crack between two parts; infinite where there is none."""
    if not borders.any():
        return np.full(borders.shape, np.inf)
    distance: Reals = distance_transform_edt(~borders) + 0.5
    return distance


def counted_parts(pair: Pair) -> Iterator[CountedPart]:
    """The parts of the target that are judged, in the order of their labels."""
    inner = distance_to(part_borders(pair.target.part)) >= BORDER_MARGIN_PX
    seen = pair.correspondence.visible & inner
    for label in np.unique(pair.target.part):
        kind, whole = PARTS[label], pair.target.part == label
        counted = whole & seen
        if label and whole.sum() >= SMALLEST_PART_PX and counted.any():
            yield CountedPart(kind.name, kind.group, kind.half_size, whole, counted)


def true_looks(pair: Pair) -> Mapping[str, Appearance]:
    """By group of parts: what the target wears in the truth."""
    return pair.target_scene.wearing(pair.reference_scene).appearances


def blurred_inside(picture: Reals, region: Flags, sigma: float) -> Reals:
    """A picture `[height, width, channels]` blurred with weights inside a region only, so that nothing leaks in."""
    weight = region.astype(np.float64)
    total = np.maximum(gaussian_filter(weight, sigma), 1e-6)
    mixed = gaussian_filter(picture * weight[..., None], (sigma, sigma, 0.0))
    blurred: Reals = mixed / total[..., None]
    return blurred
