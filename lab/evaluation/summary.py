"""Means over pairs with confidence intervals, over all pairs and by category."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lab.evaluation.run import Row
from lab.metrics import FIGURES

RESAMPLES = 2000
"""Of the bootstrap (Efron 1979): pairs drawn with replacement, always with the same draws."""


def summarise(run: dict[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """The whole report: how it was made, figures of all pairs, of every category, and every pair."""
    categories = sorted({row["category"] for row in rows})
    return {
        "run": run | {"pairs": len(rows), "first_seed": rows[0]["seed"]},
        **_figures(rows),
        "categories": {name: _figures([row for row in rows if row["category"] == name]) for name in categories},
        "pairs": list(rows),
    }


def _figures(rows: Sequence[Row]) -> dict[str, Any]:
    methods = {
        method: {figure: mean_with_interval([row["methods"][method][figure] for row in rows]) for figure in FIGURES}
        for method in rows[0]["methods"]
    }
    matching = {
        source: {
            share: mean_with_interval([row["matching"][source][share] for row in rows])["mean"] for share in shares
        }
        for source, shares in rows[0]["matching"].items()
    }
    return {"methods": methods, "matching": matching}


def mean_with_interval(scores: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Weighted mean of `(value, weight)` pairs and its 95 % interval; both null where nothing has weight."""
    values, weights = np.asarray(scores, np.float64).T
    if not weights.any():
        return {"mean": None, "ci95": None, "weight": 0.0}
    drawn = np.random.Generator(np.random.PCG64(0)).integers(len(values), size=(RESAMPLES, len(values)))
    totals = weights[drawn].sum(axis=1)
    means = (values * weights)[drawn].sum(axis=1)[totals > 0] / totals[totals > 0]
    low, high = np.percentile(means, [2.5, 97.5])
    mean = float((values * weights).sum() / weights.sum())
    return {"mean": mean, "ci95": [float(low), float(high)], "weight": float(weights.sum())}


def table(report: dict[str, Any]) -> str:
    """Means of all methods and matches as lines of text."""
    lines = ["".join([f"{'':20}", *(f"{figure:>17}" for figure in FIGURES)])]
    for method, figures in report["methods"].items():
        lines.append("".join([f"{method:20}", *(f"{_shown(figures[figure]['mean']):>17}" for figure in FIGURES)]))
    lines.append("")
    for source, shares in report["matching"].items():
        lines.append(f"{source:20}" + "  ".join(f"{name} {_shown(value)}" for name, value in shares.items()))
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
