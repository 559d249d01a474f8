"""Means over pairs with confidence intervals, over all pairs and by category."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.evaluation.run import Row
from lab.metrics.judge import FIGURES
from lab.scenes import Category

HELD_OUT = Category.FLOWER
RESAMPLES = 2000
"""Of the bootstrap (Efron 1979): pairs drawn with replacement, always with the same draws."""


def summarise(run: dict[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """The whole report: how it was made, figures of all pairs, of every category, and every pair."""
    categories = sorted({row["category"] for row in rows})
    return {
        "run": run | {"pairs": len(rows), "first_seed": rows[0]["seed"]},
        **_figures(rows),
        "categories": {name: _figures([row for row in rows if row["category"] == name]) for name in categories},
        "held_out": _apart(rows),
        "pairs": list(rows),
    }


def _apart(rows: Sequence[Row]) -> dict[str, Any]:
    """The same of the category that the auxiliary loss of the shipped UNet never saw, and of all the others. The
    correspondence model beside it has seen all: what the loss is worth elsewhere is in the matches of `unet`."""
    of_it = [row for row in rows if row["category"] == HELD_OUT]
    others = [row for row in rows if row["category"] != HELD_OUT]
    return {
        "category": str(HELD_OUT),
        "only": _figures(of_it) if of_it else None,
        "without": _figures(others) if others else None,
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
    sums, totals = resampled(scores)
    means = sums[totals > 0] / totals[totals > 0]
    low, high = np.percentile(means, [2.5, 97.5])
    mean = float((values * weights).sum() / weights.sum())
    return {"mean": mean, "ci95": [float(low), float(high)], "weight": float(weights.sum())}


def resampled(
    scores: Sequence[Sequence[float]], resamples: int = RESAMPLES
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of every resample of `(value, weight)` pairs: the sum of the weighted values, and that of the weights."""
    values, weights = np.asarray(scores, np.float64).T
    drawn = np.random.Generator(np.random.PCG64(0)).integers(len(values), size=(resamples, len(values)))
    return (values * weights)[drawn].sum(axis=1), weights[drawn].sum(axis=1)


def table(report: dict[str, Any]) -> str:
    """Means of all methods and matches as lines of text: over all pairs, then without the held-out category and over
    it alone."""
    apart = report["held_out"]
    blocks = [_block("all", report)]
    if apart["only"] and apart["without"]:
        blocks += [_block(f"no {apart['category']}", apart["without"]), _block(apart["category"], apart["only"])]
    return "\n\n".join(blocks)


def _block(title: str, figures_of: dict[str, Any]) -> str:
    lines = ["".join([f"{title:24}", *(f"{figure:>17}" for figure in FIGURES)])]
    for method, figures in figures_of["methods"].items():
        lines.append("".join([f"{method:24}", *(f"{_shown(figures[figure]['mean']):>17}" for figure in FIGURES)]))
    for source, shares in figures_of["matching"].items():
        lines.append(f"{source:24}" + "  ".join(f"{name} {_shown(value)}" for name, value in shares.items()))
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
