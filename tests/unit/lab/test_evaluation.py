"""A whole evaluation on tiny networks: it goes on where it stopped, repeats itself, and refuses to mix runs."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from checkpoints.load import LoadedModels
from core.params.transfer import MatchingParams, TransferParams
from lab.evaluation import (
    Plan,
    ResultsOfAnotherRun,
    describe_run,
    draw_sheet,
    evaluate,
    evaluation_page,
    summarise,
    table,
)
from lab.evaluation.places import CORNERS, NOWHERE, draw_places, place_colours, values_at
from lab.evaluation.plan import token_pitch_px
from lab.evaluation.sheet import HEADER_PX, column_names
from lab.evaluation.summary import HELD_OUT, mean_with_interval
from lab.metrics.judge import FIGURES
from lab.pairs import PairSet
from lab.scenes import PARTS, Domain, render, sample_scene
from lab.train.surface import HELD_OUT as UNSEEN_PARTS
from tests.tiny import tiny_models

PARAMS = TransferParams(num_inference_steps=3, matching=MatchingParams(ensemble_size=1))
METHODS = ("adain", "identity", "truth")


@pytest.fixture(scope="module")
def loaded() -> LoadedModels:
    return LoadedModels(tiny_models(), id="tiny", revision="0", device="cpu", dtype="float32")


def plan(pairs: int, methods: tuple[str, ...] = METHODS) -> Plan:
    return Plan(pairs, 6, methods, PairSet.SAME, PARAMS, Domain.TUNING)


@pytest.fixture(scope="module")
def finished(loaded: LoadedModels, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run of two pairs, and its report."""
    folder = tmp_path_factory.mktemp("run")
    rows = evaluate(loaded, plan(2), folder)
    return folder, json.dumps(summarise(describe_run(plan(2), loaded), rows))


def test_the_report_has_every_figure_of_every_method(finished: tuple[Path, str]) -> None:
    report = json.loads(finished[1])
    assert tuple(report["methods"]) == METHODS
    for figures in report["methods"].values():
        assert tuple(figures) == FIGURES
        for figure in figures.values():
            assert set(figure) == {"mean", "ci95", "weight"}
    assert report["methods"]["truth"]["colour_accuracy"]["mean"] == 1.0
    assert report["methods"]["identity"]["background_psnr"] == {"mean": 99.0, "ci95": [99.0, 99.0], "weight": 2.0}
    assert report["matching"]["oracle"]["pck_0.1"] > 0.9  # parts meet inside the tokens of so small a network
    assert set(report["matching"]["sampler"]) == {"right_part", "pck_0.1", "pck_0.05"}
    assert set(report["matching"]) == {"sampler", "unet", "dift_block_output", "oracle", "nearest_position"}
    assert set(report["categories"]) == {"bird", "fish"}
    assert report["held_out"]["only"] is None
    assert report["held_out"]["without"]["methods"] == report["methods"]
    assert [pair["seed"] for pair in report["pairs"]] == [6, 7]
    assert "colour_accuracy" in table(report)


def test_a_second_run_repeats_the_report_to_the_digit(
    loaded: LoadedModels, finished: tuple[Path, str], tmp_path: Path
) -> None:
    rows = evaluate(loaded, plan(2), tmp_path)
    assert json.dumps(summarise(describe_run(plan(2), loaded), rows)) == finished[1]


def test_a_stopped_run_computes_only_what_is_missing(
    loaded: LoadedModels, finished: tuple[Path, str], tmp_path: Path
) -> None:
    class Stopped(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        evaluate(loaded, plan(2), tmp_path, stop)
    first = tmp_path / "6.json"
    assert not (tmp_path / "7.json").exists()
    written = first.stat().st_mtime_ns
    rows = evaluate(loaded, plan(2), tmp_path)
    assert first.stat().st_mtime_ns == written
    assert json.dumps(summarise(describe_run(plan(2), loaded), rows)) == finished[1]


def test_pairs_of_another_run_are_not_mixed_in(loaded: LoadedModels, finished: tuple[Path, str]) -> None:
    with pytest.raises(ResultsOfAnotherRun, match="methods"):
        evaluate(loaded, plan(2, ("truth",)), finished[0])
    other = LoadedModels(loaded.models, id="tiny", revision="1", device="cpu", dtype="float32")
    with pytest.raises(ResultsOfAnotherRun, match="model"):
        evaluate(other, plan(2), finished[0])


def test_the_sheet_has_a_row_per_pair_and_a_column_per_picture(finished: tuple[Path, str], tmp_path: Path) -> None:
    draw_sheet(finished[0], plan(2).seeds, METHODS, tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    columns = column_names(METHODS)
    assert sheet.shape == (HEADER_PX + 2 * 64, len(columns) * 64, 3)
    place = columns.index("identity") * 64
    assert np.array_equal(sheet[HEADER_PX:, :64], sheet[HEADER_PX:, place : place + 64])


def test_the_page_holds_every_figure_with_its_interval_and_every_picture(finished: tuple[Path, str]) -> None:
    report = json.loads(finished[1])
    strips = [(f"{seed} <bird>", finished[0] / f"{seed}.png") for seed in plan(2).seeds]
    page = evaluation_page(report, column_names(METHODS), strips)
    assert page.count("data:image/jpeg;base64,") == 2
    assert "&lt;bird&gt;" in page
    assert "<bird>" not in page
    assert not re.search(r"(src|href)=\"(?!data:)", page), "nothing is loaded from elsewhere"
    figure = report["methods"]["adain"]["colour_de2000"]
    low, high = figure["ci95"]
    assert f"{figure['mean']:.3f}<small>{low:.3f}&ndash;{high:.3f}</small>" in page
    assert all(f"<summary>{category}</summary>" in page for category in report["categories"])


def test_places_have_the_colours_that_matched_tokens_take() -> None:
    part = np.zeros((8, 8), np.uint8)
    part[2:6, 2:6] = 1
    colours = place_colours(part)
    assert np.array_equal(colours[2, 2], CORNERS[0, 0])
    assert np.array_equal(colours[5, 5], CORNERS[1, 1])
    swapped = np.array([[[0.75, 0.75], [0.25, 0.75]], [[0.75, 0.25], [0.25, 0.25]]])
    matched = values_at(swapped, colours)
    assert np.array_equal(matched[0, 0], colours[6, 6])
    assert np.array_equal(matched[0, 1], colours[6, 2])
    drawn = draw_places(np.zeros((8, 8, 3), np.uint8), part, colours)
    assert (drawn[part == 0] == NOWHERE).all()


def test_tokens_of_the_finest_attention_are_four_pixels_wide(loaded: LoadedModels) -> None:
    assert token_pitch_px(loaded) == 4, "64 px picture, tokens of 16 x 16"


def test_means_are_weighted_and_intervals_hold_them() -> None:
    assert mean_with_interval([[0.5, 2.0], [1.0, 0.0]]) == {"mean": 0.5, "ci95": [0.5, 0.5], "weight": 2.0}
    assert mean_with_interval([[1.0, 1.0], [0.0, 3.0]])["mean"] == 0.25
    assert mean_with_interval([[0.0, 0.0]]) == {"mean": None, "ci95": None, "weight": 0.0}
    values = np.random.default_rng(0).normal(0.0, 1.0, 400)
    low, high = mean_with_interval([[value, 1.0] for value in values])["ci95"]
    half_width = 1.96 * values.std() / 20.0
    assert low == pytest.approx(values.mean() - half_width, abs=0.02)
    assert high == pytest.approx(values.mean() + half_width, abs=0.02)


def test_the_category_that_the_auxiliary_loss_never_saw_is_reported_apart(finished: tuple[Path, str]) -> None:
    report = json.loads(finished[1])
    rows = [dict(row, category=category) for row, category in zip(report["pairs"], ("flower", "bird"), strict=True)]
    apart = summarise({}, rows)
    assert apart["held_out"]["category"] == "flower"
    for part, row in (("only", rows[0]), ("without", rows[1])):
        value = row["methods"]["adain"]["colour_de2000"][0]
        assert apart["held_out"][part]["methods"]["adain"]["colour_de2000"]["mean"] == value
    assert "no flower" in table(apart)
    scene = sample_scene(Domain.TUNING, 0, HELD_OUT)
    shown = {PARTS[label].name for label in np.unique(render(scene, 64).part) if label}
    assert shown <= set(UNSEEN_PARTS)


@pytest.mark.parametrize(("pairs", "methods"), [(0, METHODS), (1, ())])
def test_an_empty_plan_is_refused(pairs: int, methods: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="at least"):
        plan(pairs, methods)
