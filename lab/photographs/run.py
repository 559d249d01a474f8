"""The run over photographs: pair by pair, every method that needs no truth; whole pairs are kept."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from checkpoints.load import LoadedModels
from core.params.transfer import TransferParams
from lab.baselines import METHODS, Case
from lab.baselines.case import Bytes, figure, picture
from lab.baselines.settings import Changes
from lab.evaluation.places import draw_places, matched_colours, place_colours
from lab.evaluation.plan import claim_folder, describe_weights
from lab.evaluation.run import OnPair, Row, write_whole
from lab.evaluation.summary import mean_with_interval
from lab.photographs.features import FeatureModel
from lab.photographs.figures import FIGURES, dino_i, gram, self_similarity
from lab.photographs.folder import PhotographPair

NEED_TRUTH = ("oracle", "truth")
METHODS_WITHOUT_TRUTH = {name: method for name, method in METHODS.items() if name not in NEED_TRUTH}
GIVEN = ("target", "reference", "places", "matched")
STRIP_HEIGHT_PX = 256


@dataclass(frozen=True)
class PhotographPlan:
    """What is computed for every pair."""

    methods: tuple[str, ...]
    """Names of METHODS_WITHOUT_TRUTH."""
    params: TransferParams
    seed: int
    """Of the sampler's draws, the same for all pairs."""
    overrides: Mapping[str, Changes] = field(default_factory=dict)
    """Single values of methods by name; see `lab.baselines.settings`."""


def evaluate_photographs(
    loaded: LoadedModels,
    features: FeatureModel,
    pairs: list[PhotographPair],
    plan: PhotographPlan,
    folder: Path,
    on_pair: OnPair = lambda done, total: None,
) -> dict[str, Any]:
    """The report over all pairs, with intervals. Finished pairs are kept in `folder` with a strip of pictures each.

    `on_pair(done, total)` is called after every pair. Raises ResultsOfAnotherRun, KeyError for a method that is not in
    METHODS_WITHOUT_TRUTH, and the errors of `core.errors`.
    """
    chosen = {name: METHODS_WITHOUT_TRUTH[name] for name in plan.methods}
    run = {
        **describe_weights(loaded),
        "feature_model": {"id": features.id, "revision": features.revision, "side": features.side_px},
        "photographs": {pair.name: pair.digest[:16] for pair in pairs},
        "methods": list(plan.methods),
        "params": plan.params.resolved().model_dump(mode="json"),
        "overrides": json.loads(json.dumps(plan.overrides)),
        "seed": plan.seed,
    }
    claim_folder(folder, run)
    rows = []
    for done, pair in enumerate(pairs, start=1):
        path = folder / f"{pair.name}.json"
        if not path.exists():
            case = Case(loaded.models, pair, plan.params, plan.seed, overrides=plan.overrides)
            results = {name: method(case) for name, method in chosen.items()}
            Image.fromarray(strip(case, results)).save(folder / f"{pair.name}.png")
            write_whole(path, judge_photographs(pair, results, features))
        rows.append(json.loads(path.read_text()))
        on_pair(done, len(pairs))
    means = {
        name: {figure: mean_with_interval([row["methods"][name][figure] for row in rows]) for figure in FIGURES}
        for name in chosen
    }
    return {"run": run, "methods": means, "pairs": rows}


def judge_photographs(pair: PhotographPair, results: Mapping[str, Bytes], features: FeatureModel) -> Row:
    """All figures of one pair, each as `[value, weight]`."""
    target, reference = (features(picture(side)) for side in (pair.target, pair.reference))
    inside, there = figure(pair.target), figure(pair.reference)
    figures = {}
    for name, result in results.items():
        seen = features(torch.from_numpy(result.copy()).permute(2, 0, 1).float() / 255.0)
        figures[name] = {
            "self_similarity": [self_similarity(seen, target), 1.0],
            "gram": [gram(seen, reference, inside, there), 1.0],
            "dino_i": [dino_i(seen, reference), 1.0],
        }
    return {"name": pair.name, "methods": figures}


def strip(case: Case, results: Mapping[str, Bytes]) -> Bytes:
    """Target, reference, the correspondence drawn, and all results, side by side at one size."""
    target, reference = case.scene.target, case.scene.regions[0].reference
    own, other = (_bytes(canvas.picture) for canvas in (target, reference))
    inside, there = ((canvas.mask > 0.5).cpu().numpy().astype(np.uint8) for canvas in (target, reference))
    colours = place_colours(there)
    matched = matched_colours(case.own_correspondence, colours, (inside.shape[0], inside.shape[1]))
    pictures = [own, other, draw_places(other, there, colours), draw_places(own, inside, matched), *results.values()]
    size = (round(STRIP_HEIGHT_PX * own.shape[1] / own.shape[0]), STRIP_HEIGHT_PX)
    small = [np.asarray(Image.fromarray(shown).resize(size, Image.Resampling.LANCZOS)) for shown in pictures]
    return np.concatenate(small, axis=1)


def _bytes(shown: torch.Tensor) -> Bytes:
    pixels: Bytes = (shown * 255.0).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return pixels
