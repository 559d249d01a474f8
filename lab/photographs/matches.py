"""What is judged of a pair before anything is repainted: the correspondence by known places, and the mask that `auto`
finds."""

from collections.abc import Mapping, Sequence

import numpy as np

from core.masks.regions import select_mask
from core.matching.correspondence import Correspondence
from core.models.models import Models
from core.params.selection import Landmark, Selection
from lab.baselines import Case
from lab.baselines.case import picture
from lab.metrics.colour_space import Reals
from lab.metrics.figure import NOTHING, Figure
from lab.metrics.pck import longer_side, pck, share_within
from lab.metrics.regions import Flags
from lab.photographs.folder import Photograph, PhotographPair

ALPHAS = (0.1, 0.05)
"""Of PCK: how far from the true place a match still counts, as a share of the longer side of the figure's box."""
PCK_FIGURES = tuple(f"pck_{alpha}" for alpha in ALPHAS)
BOX_FIGURES = tuple(f"box_{name}" for name in PCK_FIGURES)
AUTO_IOU = "auto_iou"
PAIR_FIGURES = (*PCK_FIGURES, *BOX_FIGURES, AUTO_IOU)
"""Figures of a pair, whatever the method that repaints it."""


def score_pair(case: Case, pair: PhotographPair) -> dict[str, Figure]:
    """The figures of `PAIR_FIGURES`, shares 0 to 1; those that the pair has no truth for weigh nothing."""
    figures = dict.fromkeys(PAIR_FIGURES, NOTHING)
    if pair.points:
        figures |= _by_alpha(PCK_FIGURES, score_points(case, case.own_correspondences, pair))
        figures |= _by_alpha(BOX_FIGURES, score_boxes(pair.target, pair.reference, pair.points))
    if pair.target.mask.min() < pair.target.mask.max():
        figures[AUTO_IOU] = Figure(score_auto(case.models, pair.target))
    return figures


def score_points(case: Case, maps: Sequence[Correspondence], pair: PhotographPair) -> dict[float, float]:
    """PCK by alpha of correspondences between the canvases of `case`, one for each figure."""
    matches = case.matches(maps)
    inside = case.inputs.masks.reference
    assert inside is not None, "photographs without a mask have one that is white everywhere"
    return {alpha: pck(matches, pair.points, inside, alpha) for alpha in ALPHAS}


def score_boxes(target: Photograph, reference: Photograph, points: Sequence[Landmark]) -> dict[float, float]:
    """PCK by alpha of a yardstick that sees no picture: the box of the target's mask laid onto the reference's,
    mirrored where that is nearer to the truth."""
    height, width = reference.mask.shape
    here, there = _box(target.part > 0), _box(reference.part > 0)
    share = (np.array([point.target for point in points]) - here[0]) / here[1]
    true = np.array([point.reference for point in points])
    ways = (share, np.stack([1.0 - share[:, 0], share[:, 1]], axis=1))
    distances = [np.hypot(*((there[0] + way * there[1] - true) * [width, height]).T) for way in ways]
    nearer = min(distances, key=lambda distance: float(distance.mean()))
    side = longer_side(reference.part > 0)
    return {alpha: share_within(nearer, side, alpha) for alpha in ALPHAS}


def score_auto(models: Models, photograph: Photograph) -> float:
    """Intersection over union of the mask and of what `masks.mode` `auto` finds without it."""
    found = select_mask(models, picture(photograph), None, Selection(), mode="auto", role="target")
    assert found is not None
    return intersection_over_union(found.cpu().numpy() > 0.5, photograph.part > 0)


def intersection_over_union(one: Flags, other: Flags) -> float:
    """0 to 1; at least one of the two marks something."""
    return float((one & other).sum() / (one | other).sum())


def _by_alpha(names: Sequence[str], shares: Mapping[float, float]) -> dict[str, Figure]:
    return {name: Figure(shares[alpha]) for name, alpha in zip(names, ALPHAS, strict=True)}


def _box(inside: Flags) -> tuple[Reals, Reals]:
    """First corner and sides (x, y) of the box around what is marked, as fractions of the picture."""
    rows, columns = np.nonzero(inside)
    size = np.array(inside.shape[::-1], np.float64)
    corner = np.array([columns.min(), rows.min()])
    return corner / size, (np.array([columns.max(), rows.max()]) + 1 - corner) / size
