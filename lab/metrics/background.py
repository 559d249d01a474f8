"""What lies outside the mask must stay."""

import numpy as np

from lab.metrics.figure import NOTHING, Figure
from lab.metrics.regions import Bytes
from lab.pairs import Pair

CAP_DB = 99.0
"""Stands for infinity: equal bytes."""


def score_background(result: Bytes, pair: Pair) -> Figure:
    """PSNR in dB against the target where nothing of its figure is seen, at most `CAP_DB`.

    Pixels on the outline, which show both, are left out: there the truth has new colours too.
    """
    outside = pair.target.coverage == 0.0
    if not outside.any():
        return NOTHING
    error = np.square(result[outside].astype(np.float64) - pair.target.image[outside]).mean()
    return Figure(CAP_DB if error == 0.0 else float(min(CAP_DB, 10.0 * np.log10(255.0**2 / error))))
