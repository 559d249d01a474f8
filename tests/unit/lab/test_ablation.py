"""The ablation: every row once, on tiny networks, with figures and time; rows without their model left out."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image

from checkpoints.load import LoadedModels
from core.params.transfer import InjectionMode, MatchingParams, MatchSource, TransferParams, nested
from lab.ablation import GROUPS, SHOWN, Row, ablate, ablation_table, rows_for
from lab.evaluation import Plan
from lab.scenes import Domain
from tests.tiny import tiny_models
from tests.tiny_vision import tiny_vision

FAST = TransferParams(num_inference_steps=2, matching=MatchingParams(ensemble_size=1))


@pytest.fixture(scope="module")
def loaded() -> LoadedModels:
    return LoadedModels(tiny_models(), id="tiny", revision="0", device="cpu", dtype="float32")


def test_every_source_level_and_mask_mode_has_a_row() -> None:
    changed = [dict(row.changes) for rows in GROUPS.values() for row in rows.values()]
    sources = {changes["matching.source"] for changes in changed if "matching.source" in changes}
    assert sources | {"auto", "custom"} == set(get_args(MatchSource))  # auto chooses; the truth is a map of its own
    assert {changes["injection.mode"] for changes in changed if "injection.mode" in changes} == set(
        get_args(InjectionMode)
    )
    for row in (row for rows in GROUPS.values() for row in rows.values()):
        words = {name: value for name, value in row.changes.items() if value not in ("box", "text", "parts")}
        TransferParams.model_validate(nested(words))


def test_rows_are_left_out_without_their_model(loaded: LoadedModels) -> None:
    without = rows_for(loaded.models)
    assert ("source", "vision") not in without
    assert ("source", "vision") in rows_for(replace(loaded.models, correspondence=tiny_vision()))
    assert len(without) == sum(row.needs is None for rows in GROUPS.values() for row in rows.values())


def test_an_ablation_goes_on_where_it_stopped_and_shows_a_table(
    loaded: LoadedModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"source": {"default": Row(), "true": Row(true_matches=True)}, "masks": {"no masks": Row(masked=False)}}
    monkeypatch.setattr("lab.ablation.GROUPS", few)
    plan = Plan(1, 6, ("ours",), params=FAST, domain=Domain.TUNING)
    report = ablate(loaded, plan, tmp_path)
    assert list(report["rows"]) == ["source: default", "source: true", "masks: no masks"]
    for figures in report["rows"].values():
        assert set(figures) == {*SHOWN, "seconds"}
        assert figures["seconds"]["median"] > 0.0
    with Image.open(tmp_path / "6.png") as gallery:
        assert gallery.size == (6 * 64, 64 + 17)
    kept = (tmp_path / "6.json").stat().st_mtime_ns
    assert ablate(loaded, plan, tmp_path) == report
    assert (tmp_path / "6.json").stat().st_mtime_ns == kept
    lines = ablation_table(report).splitlines()
    assert len(lines) == 5
    assert lines[2].startswith("| source: default |")
