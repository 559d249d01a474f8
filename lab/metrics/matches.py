"""Matches of a pair's tokens by its true correspondence: right part, and right place (PCK)."""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lab.metrics.pck import longer_side, share_within
from lab.pairs import Pair
from lab.scenes import PARTS, Rendering

Grid = tuple[int, int]
"""Rows and columns of tokens."""
Scalar = TypeVar("Scalar", bound=np.generic)
GROUPS = np.array([sorted({kind.group for kind in PARTS}).index(kind.group) for kind in PARTS])
"""The group of every part, as a number."""


@dataclass(frozen=True)
class MatchScore:
    """Shares, 0..1, of the target's tokens whose counterpart the reference shows; NaN where a pair has none."""

    right_part: float
    """Matched into the same group of parts."""
    pck_10: float
    """Matched within .1 times the longer side of the reference's figure."""
    pck_05: float
    """The same within .05 times."""


def at_tokens(plane: NDArray[Scalar], grid: Grid) -> NDArray[Scalar]:
    """The values of a picture-sized plane at the centres of tokens, in reading order."""
    height, width = plane.shape[:2]
    rows = (np.arange(grid[0]) * height + height // 2) // grid[0]
    columns = (np.arange(grid[1]) * width + width // 2) // grid[1]
    picked: NDArray[Scalar] = plane[np.ix_(rows, columns)]
    return picked.reshape(grid[0] * grid[1], *plane.shape[2:])


def score_matches(pair: Pair, matched: NDArray[np.int64], grid: Grid) -> MatchScore:
    """Judges `matched`, for every target token the index of a reference token, by the truth."""
    return score_places(pair, (np.stack([matched % grid[1], matched // grid[1]], axis=-1) + 0.5) / grid[::-1], grid)


def score_places(pair: Pair, places: NDArray[np.floating[Any]], grid: Grid) -> MatchScore:
    """Judges places (x, y) `[tokens, 2]` in the reference, fractions of its sides, for every token of the target."""
    true = pair.correspondence
    counted = at_tokens(true.visible, grid).astype(bool)
    if not counted.any():
        return MatchScore(float("nan"), float("nan"), float("nan"))
    height, width = pair.reference.part.shape
    x, y = places[:, 0] * width, places[:, 1] * height
    under = (y.astype(int).clip(0, height - 1), x.astype(int).clip(0, width - 1))
    own, found = GROUPS[at_tokens(pair.target.part, grid).astype(np.int64)], GROUPS[pair.reference.part[under]]
    away = (x - (at_tokens(true.column, grid) + 0.5), y - (at_tokens(true.row, grid) + 0.5))
    distance, side = np.hypot(*away)[counted], figure_side(pair.reference)
    right_part = float((own == found)[counted].mean())
    return MatchScore(right_part, share_within(distance, side, 0.1), share_within(distance, side, 0.05))


def figure_side(rendering: Rendering) -> int:
    """The longer side, in pixels, of the figure's bounding box."""
    return longer_side(rendering.part > 0)


def nearest_position(pair: Pair, grid: Grid) -> NDArray[np.int64]:
    """The baseline that knows no features: the same place relative to the two figures' boxes."""
    boxes = [_box(at_tokens(side.part, grid).reshape(grid)) for side in (pair.target, pair.reference)]
    rows, columns = np.indices(grid)
    places = np.stack([rows, columns], axis=-1).reshape(-1, 2)
    moved = (places - boxes[0][0]) / boxes[0][1] * boxes[1][1] + boxes[1][0]
    inside = np.flatnonzero(at_tokens(pair.reference.part, grid) > 0)
    squared = np.square(moved[:, None, :] - places[None, inside, :]).sum(axis=-1)
    nearest: NDArray[np.int64] = inside[squared.argmin(axis=1)]
    return nearest


def _box(part: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First corner and side lengths of the figure's box, in tokens."""
    where = np.argwhere(part > 0).astype(np.float64)
    return where.min(axis=0), np.maximum(np.ptp(where, axis=0), 1.0)
