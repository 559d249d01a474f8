"""Coordinate ascent over a list of trials: a change that raises the score by more than chance stays, and the next is
tried on top of it."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from checkpoints.load import LoadedModels
from core.params.transfer import TransferParams, with_values
from lab.evaluation import Plan, describe_run, evaluate, summarise
from lab.evaluation.run import Row
from lab.pairs import PairSet
from lab.scenes import Domain
from lab.search.score import SCORE_WEIGHTS, score, standard_error
from lab.search.space import Trial

OURS = "ours"
LEAST_GAIN = 1e-3
"""A change that raises the score by less, or by less than the standard error of the difference, is no finding."""
OnTrial = Callable[[str, int, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Search:
    """What is searched on: pairs of the tuning domain, which neither training nor evaluation draws from."""

    pairs: int
    first_seed: int
    folder: Path
    """Where every trial keeps its pairs; a search that was stopped goes on there."""
    kind: PairSet = PairSet.SAME
    base: TransferParams = field(default_factory=TransferParams)


def find_settings(
    loaded: LoadedModels,
    search: Search,
    trials: Mapping[str, Sequence[Trial]],
    on_trial: OnTrial = lambda method, number, outcome: None,
) -> dict[str, Any]:
    """The report: for every method the changes that were best, and how each trial did.

    Ours comes first, because other methods take steps and matching from it. `on_trial(method, number, outcome)` is
    called after every trial; number 0 is the method as it is. Raises KeyError for an unknown method,
    ResultsOfAnotherRun when the folder holds trials of other code or weights, and the errors of `core.errors`.
    """
    chosen: dict[str, dict[str, Any]] = {}
    outcomes: dict[str, list[dict[str, Any]]] = {}
    base = search.base
    for method in sorted(trials, key=lambda name: name != OURS):
        best: dict[str, Any] = {}
        reached: tuple[float, Sequence[Row]] | None = None
        outcomes[method] = []
        for number, trial in enumerate([{}, *trials[method]]):
            changes = {**best, **trial}
            figures, rows = _try_settings(loaded, search, base, method, changes)
            value = score(figures)
            error = 0.0 if reached is None else standard_error(method, reached[1], rows)
            kept = reached is None or value - reached[0] > max(error, LEAST_GAIN)
            if kept:
                best, reached = changes, (value, rows)
            outcome = {"change": dict(trial), "score": value, "error": error, "kept": kept, "figures": _means(figures)}
            outcomes[method].append(outcome)
            on_trial(method, number, outcome)
        chosen[method] = best
        if method == OURS:
            base = with_values(base, best)
    plan = Plan(search.pairs, search.first_seed, tuple(trials), search.kind, search.base, Domain.TUNING)
    run = describe_run(plan, loaded) | {"pairs": search.pairs, "first_seed": search.first_seed}
    return {"run": run, "score": dict(SCORE_WEIGHTS), "chosen": chosen, "trials": outcomes}


def _try_settings(
    loaded: LoadedModels, search: Search, base: TransferParams, method: str, changes: dict[str, Any]
) -> tuple[dict[str, dict[str, Any]], Sequence[Row]]:
    """The figures of one method with some changes, over all pairs and of each."""
    params = with_values(base, changes) if method == OURS else base
    overrides = {} if method == OURS or not changes else {method: changes}
    plan = Plan(
        search.pairs, search.first_seed, (method,), search.kind, params, Domain.TUNING, overrides, matching=False
    )
    named = json.dumps([params.model_dump(mode="json"), changes], sort_keys=True)
    folder = search.folder / method / hashlib.sha256(named.encode()).hexdigest()[:16]
    rows = evaluate(loaded, plan, folder)
    figures: dict[str, dict[str, Any]] = summarise(describe_run(plan, loaded), rows)["methods"][method]
    return figures, rows


def _means(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    return {name: figure["mean"] for name, figure in figures.items()}
