"""The run: pair by pair, every method; each pair is written when it is whole, and never computed again."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from checkpoints.load import LoadedModels
from lab.baselines import METHODS, Case
from lab.baselines.dift import match_block_outputs
from lab.evaluation.plan import Plan, claim_folder, describe_run, token_pitch_px
from lab.evaluation.sheet import SHEET_PAIRS, strip
from lab.metrics.judge import Judge
from lab.metrics.matches import MatchScore, nearest_position, score_matches, score_places
from lab.pairs import sample_pair

Row = dict[str, Any]
"""One pair: seed, category, figures of methods as `[value, weight]`, scores of matches."""
OnPair = Callable[[int, int], None]


def evaluate(loaded: LoadedModels, plan: Plan, folder: Path, on_pair: OnPair = lambda done, total: None) -> list[Row]:
    """Runs the plan and keeps every finished pair in `folder`, where a run that was stopped goes on.

    `on_pair(done, total)` is called after every pair. Raises ResultsOfAnotherRun, KeyError for an unknown method, and
    the errors of `core.errors`.
    """
    methods = {name: METHODS[name] for name in plan.methods}
    run = describe_run(plan, loaded)
    claim_folder(folder, run)
    rows = []
    for done, seed in enumerate(plan.seeds, start=1):
        path, picture = folder / f"{seed}.json", folder / f"{seed}.png"
        if not path.exists() or (done <= SHEET_PAIRS and not picture.exists()):
            pair = sample_pair(plan.domain, seed, run["size"], plan.kind)
            case = Case(loaded.models, pair, plan.params, seed=seed % 2**63, overrides=plan.overrides)
            results = {name: method(case) for name, method in methods.items()}
            if done <= SHEET_PAIRS:
                Image.fromarray(strip(case, results)).save(picture)
            row = judge_pair(case, results, token_pitch_px(loaded), seed)
            write_whole(path, row | {"matching": judge_matches(case) if plan.matching else {}})
        rows.append(json.loads(path.read_text()))
        on_pair(done, plan.pairs)
    return rows


def judge_pair(case: Case, results: dict[str, Any], pitch_px: int, seed: int) -> Row:
    """All figures of one pair."""
    judge = Judge(case.rendered, token_pitch_px=pitch_px)
    figures = {name: judge(result) for name, result in results.items()}
    return {
        "seed": seed,
        "category": str(case.rendered.target_scene.category),
        "methods": {
            name: {figure: [score.value, score.weight] for figure, score in scores.items()}
            for name, scores in figures.items()
        },
    }


def judge_matches(case: Case) -> dict[str, dict[str, list[float]]]:
    """Shares of tokens matched rightly: by our correspondence, by the UNet's alone, by its block outputs, by the
    nearest position, and by the truth."""
    maps = {
        "sampler": case.own_correspondences,
        "unet": case.unet_correspondences,
        "dift_block_output": match_block_outputs(case),
        "oracle": case.true_correspondences,
    }
    scores = {}
    for name, found in maps.items():
        scores[name] = score_places(case.rendered, case.places(found, found[0].grid), found[0].grid)
    grid = case.own_correspondences[0].grid
    scores["nearest_position"] = score_matches(case.rendered, nearest_position(case.rendered, grid), grid)
    return {name: _shares(score) for name, score in scores.items()}


def _shares(score: MatchScore) -> dict[str, list[float]]:
    values = {"right_part": score.right_part, "pck_0.1": score.pck_10, "pck_0.05": score.pck_05}
    return {name: [0.0, 0.0] if math.isnan(value) else [value, 1.0] for name, value in values.items()}


def write_whole(path: Path, row: Row) -> None:
    """In one step, so that a pair is there whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(row))
    os.replace(part, path)
