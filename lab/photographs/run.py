"""The run over photographs: pair by pair, every method that needs no rendered truth; whole pairs are kept."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from checkpoints.load import LoadedModels
from core.params.transfer import TransferParams
from lab.baselines import Case
from lab.baselines.case import Bytes, figure, picture
from lab.baselines.settings import Changes
from lab.evaluation.plan import claim_folder, describe_weights
from lab.evaluation.run import OnPair, Row, write_whole
from lab.evaluation.sheet import SHEET_PAIRS
from lab.metrics.figure import NOTHING, Figure
from lab.photographs.features import Descriptors, FeatureModel
from lab.photographs.figures import FIGURES, dino_i, gram, self_similarity
from lab.photographs.folder import PairFiles, PhotographPair
from lab.photographs.matches import score_pair
from lab.photographs.methods import PHOTOGRAPH_METHODS, TRUE_MAP
from lab.photographs.strips import draw_strip
from lab.photographs.summary import summarise_photographs
from lab.photographs.truth import score_truth

Scores = dict[str, list[float]]
"""Figures by name as `[value, weight]`."""


@dataclass(frozen=True)
class PhotographPlan:
    """What is computed for every pair. Raises ValueError without a method."""

    methods: tuple[str, ...]
    """Names of PHOTOGRAPH_METHODS. The report shows the first before the others; `true_map` is left out where a pair
    has no map."""
    params: TransferParams
    seed: int
    """Of the sampler's draws, the same for all pairs."""
    overrides: Mapping[str, Changes] = field(default_factory=dict)
    """Single values of methods by name; see `lab.baselines.settings`."""

    def __post_init__(self) -> None:
        if not self.methods:
            raise ValueError("photographs need a method at least")


def evaluate_photographs(
    loaded: LoadedModels,
    pairs: list[PairFiles],
    plan: PhotographPlan,
    folder: Path,
    features: FeatureModel | None = None,
    on_pair: OnPair = lambda done, total: None,
) -> dict[str, Any]:
    """The report over all pairs, with intervals. Finished pairs are kept in `folder`, the first with a strip of
    pictures each. Without a feature model there are figures only where truth lies beside a pair.

    `on_pair(done, total)` is called after every pair. Raises ResultsOfAnotherRun, KeyError for a method that is not in
    PHOTOGRAPH_METHODS, BadFolder for files that were changed meanwhile, and the errors of `core.errors`.
    """
    chosen = {name: PHOTOGRAPH_METHODS[name] for name in plan.methods}
    run = {
        **describe_weights(loaded),
        "feature_model": None if features is None else features.described,
        "photographs": {pair.name: pair.digest[:16] for pair in pairs},
        "truth": any(pair.has_truth for pair in pairs),
        "methods": list(plan.methods),
        "params": plan.params.resolved().model_dump(mode="json"),
        "overrides": json.loads(json.dumps(plan.overrides)),
        "seed": plan.seed,
    }
    claim_folder(folder, run)
    rows = []
    for done, files in enumerate(pairs, start=1):
        path = folder / f"{files.name}.json"
        if not path.exists():
            pair = files.read()
            case = Case(loaded.models, pair, plan.params, plan.seed, overrides=plan.overrides)
            can = [name for name in chosen if name != TRUE_MAP or pair.true_map]
            results = {name: chosen[name](case) for name in can}
            if done <= SHEET_PAIRS:
                truth = [pair.truth] if run["truth"] else []
                Image.fromarray(draw_strip(case, truth, results, plan.methods)).save(folder / f"{files.name}.png")
            write_whole(path, judge_photographs(case, pair, results, features) | {"set": files.set_name})
        rows.append(json.loads(path.read_text()))
        on_pair(done, len(pairs))
    return summarise_photographs(run, rows)


def judge_photographs(
    case: Case, pair: PhotographPair, results: Mapping[str, Bytes], features: FeatureModel | None
) -> Row:
    """All figures of one pair, of its methods and of itself."""
    methods: dict[str, Scores] = {name: {} for name in results}
    for name, result in results.items():
        if pair.truth is not None:
            methods[name] |= _scores(score_truth(result, pair.truth, pair.target.image, pair.target.mask))
    if features is not None:
        target, reference = (features(picture(side)) for side in (pair.target, pair.reference))
        for name, result in results.items():
            seen = features(torch.from_numpy(result.copy()).permute(2, 0, 1).float() / 255.0)
            methods[name] |= _scores(_distances(seen, target, reference, pair))
    return {"name": pair.name, "methods": methods, "pair": _scores(score_pair(case, pair))}


def _distances(
    seen: Descriptors, target: Descriptors, reference: Descriptors, pair: PhotographPair
) -> dict[str, Figure]:
    values = (
        self_similarity(seen, target),
        gram(seen, reference, figure(pair.target), figure(pair.reference)),
        dino_i(seen, reference),
    )
    return {name: Figure(value) for name, value in zip(FIGURES, values, strict=True)}


def _scores(figures: Mapping[str, Figure]) -> Scores:
    return {name: [score.value, score.weight] for name, score in figures.items() if score != NOTHING}
