"""One number by which settings are compared; the same for every method."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.evaluation.run import Row
from lab.evaluation.summary import resampled

SCORE_WEIGHTS: Mapping[str, float] = {
    "colour_accuracy": 2.0,
    "structure_rate": 2.0,
    "texture_rate": 1.0,
    "markings_left": -1.0,
}
"""Negative: lower is better, so that one minus the figure counts."""
RESAMPLES = 500
"""Of the bootstrap that measures how far chance moves a score."""


def score(figures: Mapping[str, Mapping[str, Any]]) -> float:
    """Weighted mean of a method's figures, 0 to 1; a figure that nothing was judged by does not count."""
    total, weights = 0.0, 0.0
    for name, weight in SCORE_WEIGHTS.items():
        mean = figures[name]["mean"]
        if mean is not None:
            total += abs(weight) * (mean if weight > 0.0 else 1.0 - mean)
            weights += abs(weight)
    return total / weights if weights else 0.0


def standard_error(method: str, before: Sequence[Row], after: Sequence[Row]) -> float:
    """Standard error of the difference between the scores of one method in two runs over the same pairs."""
    return float(np.std(_resampled_scores(method, after) - _resampled_scores(method, before)))


def _resampled_scores(method: str, rows: Sequence[Row]) -> NDArray[np.float64]:
    """The score of every resample of pairs; the same draws for all runs over equally many."""
    sums = {name: resampled([row["methods"][method][name] for row in rows], RESAMPLES) for name in SCORE_WEIGHTS}
    means = {
        name: [of / weight if weight else None for of, weight in zip(*both, strict=True)] for name, both in sums.items()
    }
    return np.asarray([score({name: {"mean": means[name][draw]} for name in means}) for draw in range(RESAMPLES)])
