"""The true dense correspondence between two renderings: same part, nearest canonical coordinates."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lab.scenes.parts import PARTS
from lab.scenes.render import Rendering

VISIBLE_WITHIN = 0.06
"""Figure units (about 3 % of a figure's length): a counterpart farther away than this is hidden in the reference."""


@dataclass(frozen=True)
class TrueCorrespondence:
    """Where in the reference every target pixel's counterpart lies; `[height, width]` of the target each."""

    row: NDArray[np.int32]
    column: NDArray[np.int32]
    visible: NDArray[np.bool_]
    """False in the background and where the counterpart is not seen in the reference; `row`, `column` are
    then the nearest seen point of the same part, or -1 where the part is missing."""


def true_correspondence(target: Rendering, reference: Rendering) -> TrueCorrespondence:
    """The map from target pixels to reference pixels, over parts that both show (also across categories)."""
    plane = target.part.shape
    row, column = np.full(plane, -1, np.int32), np.full(plane, -1, np.int32)
    visible = np.zeros(plane, np.bool_)
    for part in np.intersect1d(np.unique(target.part), np.unique(reference.part)):
        if part == 0:
            continue
        scale = np.asarray(PARTS[part].half_size)
        here, there = target.part == part, reference.part == part
        distance, nearest = cKDTree(reference.uv[there] * scale).query(target.uv[here] * scale)
        rows, columns = np.nonzero(there)
        row[here], column[here] = rows[nearest], columns[nearest]
        visible[here] = distance < VISIBLE_WITHIN
    return TrueCorrespondence(row, column, visible)
