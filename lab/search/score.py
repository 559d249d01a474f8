"""One number by which settings are compared; the same for every method."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.evaluation.run import Row

SCORE_WEIGHTS: Mapping[str, float] = {
    "colour_accuracy": 2.0,
    "structure_rate": 2.0,
    "texture_rate": 1.0,
    "markings_left": -1.0,
}
"""Negative: lower is better, so that one minus the figure counts."""


def score(figures: Mapping[str, Mapping[str, Any]]) -> float:
    """Weighted mean of a method's figures, 0 to 1; a figure that nothing was judged by does not count."""
    total, weights = 0.0, 0.0
    for name, weight in SCORE_WEIGHTS.items():
        mean = figures[name]["mean"]
        if mean is not None:
            total += abs(weight) * (mean if weight > 0.0 else 1.0 - mean)
            weights += abs(weight)
    return total / weights if weights else 0.0


RESAMPLES = 500
"""Of the bootstrap (Efron 1979): pairs drawn with replacement, always with the same draws."""


def standard_error(method: str, before: Sequence[Row], after: Sequence[Row]) -> float:
    """Standard error of the difference between the scores of one method in two runs over the same pairs."""
    drawn = np.random.Generator(np.random.PCG64(0)).integers(len(before), size=(RESAMPLES, len(before)))
    return float(np.std(_resampled(method, after, drawn) - _resampled(method, before, drawn)))


def _resampled(method: str, rows: Sequence[Row], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """The score of every draw of pairs."""
    judged = {name: np.asarray([row["methods"][method][name] for row in rows], np.float64).T for name in SCORE_WEIGHTS}
    sums = {
        name: ((values * weights)[drawn].sum(1), weights[drawn].sum(1)) for name, (values, weights) in judged.items()
    }
    scores = [
        score({name: {"mean": total[k] / weight[k] if weight[k] else None} for name, (total, weight) in sums.items()})
        for k in range(len(drawn))
    ]
    return np.asarray(scores)
