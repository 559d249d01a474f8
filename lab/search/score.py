"""One number by which settings are compared; the same for every method."""

from collections.abc import Mapping
from typing import Any

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
