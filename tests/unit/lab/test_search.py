"""The search: equal trials for all, only what helps stays, and a stopped one goes on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoints.load import LoadedModels
from core.params.transfer import InjectionParams, LatentParams, MatchingParams, TransferParams, with_values
from lab.baselines.settings import SETTINGS
from lab.search import TRIALS, Search, find_settings, score
from lab.search.report import table_of_trials
from lab.search.score import standard_error
from tests.tiny import tiny_models

RECORDED = Path(__file__).parents[3] / "docs" / "evaluation"
FIGURES = {name: {"mean": 0.5} for name in ("colour_accuracy", "structure_rate", "texture_rate", "markings_left")}
FAST = TransferParams(
    num_inference_steps=2,
    matching=MatchingParams(ensemble_size=1),
    injection=InjectionParams(layers=()),
    latent=LatentParams(warp_strength=0.0),
)


def test_every_method_of_the_sampler_is_tried_equally_often_with_valid_settings() -> None:
    assert set(TRIALS) == {"ours", *SETTINGS}
    assert len({len(trials) for trials in TRIALS.values()}) == 1
    for method, trials in TRIALS.items():
        best = with_values(TransferParams(), SETTINGS.get(method, {}))
        for trial in trials:
            assert not {"num_inference_steps", "strength"} & set(trial)
            changed = with_values(best, trial) != best
            assert changed or method == "ours", trial


@pytest.mark.parametrize("name", ["tuning.json", "tuning-ours.json"])
def test_recorded_searches_are_of_parameters_that_there_are(name: str) -> None:
    report = json.loads((RECORDED / name).read_text())
    ours = with_values(TransferParams(), report["chosen"].pop("ours"))
    assert set(report["chosen"]) <= set(SETTINGS)
    for changes in report["chosen"].values():
        with_values(ours, changes)
    for trial in (trial for trials in report["trials"].values() for trial in trials):
        with_values(ours, trial["change"])


def test_the_score_is_a_weighted_mean_of_what_was_judged() -> None:
    assert score(FIGURES) == 0.5
    best = FIGURES | {"colour_accuracy": {"mean": 1.0}, "markings_left": {"mean": 0.0}}
    assert score(best) == pytest.approx((2.0 + 1.0 + 0.5 + 1.0) / 6.0)
    assert score(best | {"texture_rate": {"mean": None}}) == pytest.approx((2.0 + 1.0 + 1.0) / 5.0)
    assert score({name: {"mean": None} for name in FIGURES}) == 0.0


def judged(*colours: float) -> list[Any]:
    """Pairs of which only the colours were judged."""
    figures = [
        {name: [colour if name == "colour_accuracy" else 0.0, float(name == "colour_accuracy")] for name in FIGURES}
        for colour in colours
    ]
    return [{"methods": {"ours": of_pair}} for of_pair in figures]


def test_a_gain_has_the_standard_error_of_its_mean() -> None:
    gains = np.array([0.1, -0.1] * 50)
    before = np.full(100, 0.5)
    measured = standard_error("ours", judged(*before), judged(*(before + gains)))
    assert measured == pytest.approx(0.01, rel=0.1), "deviation .1 over the root of 100 pairs"
    assert standard_error("ours", judged(*before), judged(*(before + 0.1))) == pytest.approx(0.0, abs=1e-12)


def test_a_change_that_helps_stays_and_a_second_search_computes_nothing(tmp_path: Path) -> None:
    """The target unchanged, then moved towards the reference's latent: on any weights the colours change."""
    loaded = LoadedModels(tiny_models(), id="tiny", revision="0", device="cpu", dtype="float32")
    search = Search(1, 6, tmp_path, base=FAST)
    trials = {
        "adain": ({"latent.adain_range": (0.7, 0.0)},),
        "ours": ({"matching.neighbor_weight": 3.0}, {"latent.warp_strength": 1.0, "latent.warp_range": (0.7, 0.0)}),
    }
    report = find_settings(loaded, search, trials)
    outcomes = report["trials"]["ours"]
    assert list(report["trials"]) == ["ours", "adain"], "others take steps and matching from ours"
    assert [outcome["change"] for outcome in outcomes] == [{}, *trials["ours"]]
    assert outcomes[1]["score"] == outcomes[0]["score"], "nothing is rearranged yet, so matching cannot matter"
    assert [outcome["kept"] for outcome in outcomes[:2]] == [True, False]
    kept = outcomes[2]["score"] > outcomes[0]["score"] + 1e-3
    assert outcomes[2]["kept"] == kept
    assert report["chosen"]["ours"] == (trials["ours"][1] if kept else {})
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("6.json")}
    assert len(written) == 5
    again = find_settings(loaded, search, trials)
    assert json.dumps(again) == json.dumps(report)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("6.json")} == written
    assert "| as it is |" in table_of_trials(report)
