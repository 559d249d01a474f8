"""Means over pairs of photographs with confidence intervals, over all pairs and by set.

`all` and `sets` have the figures of the first method of the run and those of the pairs themselves; `methods` and
`methods_by_set` those of every method. A figure that no pair has the truth for is left out.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from lab.evaluation.run import Row
from lab.evaluation.summary import mean_with_interval
from lab.photographs.figures import FIGURES
from lab.photographs.matches import PAIR_FIGURES
from lab.photographs.truth import TRUTH_FIGURES

RESULT_FIGURES = (*TRUTH_FIGURES, *FIGURES)
"""Of one result: against the truth, and by a feature model."""
Means = dict[str, Any]
"""Figures by name, each with its mean, its 95 % interval and the number of pairs behind it."""


def summarise_photographs(run: dict[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """The whole report."""
    first = run["methods"][0]
    sets = {name: [row for row in rows if row["set"] == name] for name in sorted({row["set"] for row in rows})}
    return {
        "run": run,
        "all": _means_of(rows, first),
        "sets": {name: _means_of(part, first) for name, part in sets.items()},
        "methods": _by_method(rows, run["methods"]),
        "methods_by_set": {name: _by_method(part, run["methods"]) for name, part in sets.items()},
        "pairs": list(rows),
    }


def _means_of(rows: Sequence[Row], method: str) -> Means:
    results = _means((row["methods"].get(method, {}) for row in rows), RESULT_FIGURES)
    return {**results, **_means((row["pair"] for row in rows), PAIR_FIGURES)}


def _by_method(rows: Sequence[Row], methods: Iterable[str]) -> dict[str, Means]:
    return {method: _means((row["methods"].get(method, {}) for row in rows), RESULT_FIGURES) for method in methods}


def _means(rows: Iterable[dict[str, list[float]]], figures: Iterable[str]) -> Means:
    scores = list(rows)
    means = {name: mean_with_interval([row.get(name, [0.0, 0.0]) for row in scores]) for name in figures}
    return {name: mean for name, mean in means.items() if mean["mean"] is not None}


def photographs_table(report: dict[str, Any]) -> str:
    """Means of all methods, then of the pairs, as lines of text: over all pairs and, where there are several sets, over
    each."""
    blocks = [_block(f"all ({len(report['pairs'])})", report["methods"], report["all"])]
    if len(report["sets"]) > 1:
        blocks += [_block(name, report["methods_by_set"][name], part) for name, part in report["sets"].items()]
    return "\n\n".join(blocks)


def _block(title: str, methods: dict[str, Means], of_pairs: Means) -> str:
    figures = [name for name in RESULT_FIGURES if any(name in means for means in methods.values())]
    lines = ["".join([f"{title:24}", *(f"{name:>18}" for name in figures)])]
    for method, means in methods.items():
        cells = (f"{means[name]['mean']:.4f}" if name in means else "-" for name in figures)
        lines.append("".join([f"{method:24}", *(f"{cell:>18}" for cell in cells)]))
    shown = [f"{name} {of_pairs[name]['mean']:.3f}" for name in PAIR_FIGURES if name in of_pairs]
    return "\n".join([*lines, "  ".join(shown)] if shown else lines)
