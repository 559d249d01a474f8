"""Made pairs: their truth is exact, equal recipes make equal files, and a run with the true map finds the places."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import map_coordinates

from checkpoints.load import LoadedModels
from core.params.transfer import MatchingParams, TransferParams
from lab.photographs.folder import PairFiles, find_pairs
from lab.photographs.make.__main__ import main
from lab.photographs.make.motion import Motion, Movement, draw_moved, place_in_picture, places_of, sample_motion
from lab.photographs.make.pairs import MAP_CELLS, Kind, MadePair, Recipe, make_pairs, write_pair
from lab.photographs.make.recolour import recolour, zone_shares
from lab.photographs.make.sources import BadSource, Figure, find_cutouts, find_photographs, smooth_outline
from lab.photographs.report import draw_photographs_sheet, photographs_page
from lab.photographs.run import PhotographPlan, evaluate_photographs
from lab.photographs.summary import photographs_table
from tests.cutouts import draw_sources
from tests.tiny import tiny_models

SIZE = 128


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return draw_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def made(sources: tuple[Path, Path]) -> list[MadePair]:
    cutouts, photographs = sources
    return list(make_pairs(Recipe(Kind.SELF, photographs, cutouts, 3, seed=5, size=SIZE, share=0.6)))


@pytest.fixture(scope="module")
def folder(made: list[MadePair], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    for pair in made:
        write_pair(pair, folder)
    return folder


def test_self_pairs_come_in_sets_with_everything_beside_them(folder: Path) -> None:
    found = find_pairs(folder)
    assert [(files.name, files.set_name) for files in found] == [
        ("bent-01", "bent"),
        ("perspective-02", "perspective"),
        ("turned-00", "turned"),
    ]
    for files in found:
        pair = files.read()
        assert pair.target.image.shape == (SIZE, SIZE, 3)
        assert 20 <= len(pair.points) <= 40
        assert (len(pair.true_map), len(pair.true_map[0])) == (MAP_CELLS, MAP_CELLS)


def test_the_truth_is_the_target_in_other_colours(made: list[MadePair]) -> None:
    for pair in made:
        mask = pair.pictures["target-mask"]
        changed = np.abs(pair.pictures["truth"] - pair.pictures["target"]).max(axis=-1)
        assert changed[mask == 0.0].max() == 0.0
        assert (changed[mask == 1.0] > 0.05).mean() > 0.7
        assert {0.0, 1.0} <= set(np.unique(mask))


@pytest.mark.parametrize("movement", list(Movement))
def test_motions_are_exact_both_ways_and_stay_inside(movement: Movement) -> None:
    rng = np.random.default_rng(3)
    alpha = smooth_outline(100, rng)
    for _ in range(20):
        motion = place_in_picture(sample_motion(movement, 100.0, rng), alpha, SIZE, rng)
        places = places_of(alpha, np.argwhere(alpha > 0.0)[:, ::-1] + 0.5)
        there = motion(places)
        assert there.min() >= 0.0
        assert there.max() <= SIZE
        np.testing.assert_allclose(motion.inverse(there), places, atol=1e-7)


def test_the_reference_shows_at_the_points_what_the_truth_shows(made: list[MadePair]) -> None:
    """Away from edges, up to what sampling takes: the truth and the reference have one colour at places that belong
    together."""
    for pair in made:
        apart = []
        for point in pair.beside["points"]:
            own, there = (
                _colour(pair.pictures[role], point[side])
                for role, side in (("truth", "target"), ("reference", "reference"))
            )
            apart.append(np.abs(own - there).max())
        assert np.median(apart) < 0.03


def _colour(picture: NDArray[np.float32], place: list[float]) -> NDArray[np.float32]:
    x, y = (fraction * SIZE - 0.5 for fraction in place)
    return np.array([map_coordinates(plane, [[y], [x]], order=1)[0] for plane in np.moveaxis(picture, -1, 0)])


def test_the_map_agrees_with_the_points(folder: Path) -> None:
    """A point is as far from its cell's place as from its cell's middle, moved: less than two cells."""
    for files in find_pairs(folder):
        pair = files.read()
        for point in pair.points:
            column, row = (int(fraction * MAP_CELLS) for fraction in point.target)
            assert np.hypot(*np.subtract(pair.true_map[row][column], point.reference)) < 2 / MAP_CELLS


def test_a_figure_that_stays_is_drawn_as_it_is() -> None:
    rng = np.random.default_rng(0)
    alpha = smooth_outline(60, rng)
    rows, columns = np.indices(alpha.shape)
    colours = np.stack([rows / 90, columns / 90, 0.5 + 0.4 * np.sin(rows / 5)], axis=-1).astype(np.float32)
    still = Motion(np.diag([60.0, 60.0, 1.0]), np.zeros((1, 2)), np.ones((1, 2)), np.zeros(1))
    drawn = draw_moved(Figure(colours, alpha), still.after(1.0, np.array(alpha.shape[::-1]) / 2.0), 64)
    height, width = alpha.shape
    np.testing.assert_allclose(drawn.alpha[:height, :width], alpha, atol=0.1)
    inside = alpha == 1.0
    np.testing.assert_allclose(drawn.colours[:height, :width][inside], colours[inside], atol=0.1)
    assert np.median(np.abs(drawn.colours[:height, :width][inside] - colours[inside])) < 0.003


def test_zones_share_every_pixel_and_take_other_colours() -> None:
    rng = np.random.default_rng(1)
    alpha = smooth_outline(80, rng)
    shares = zone_shares(alpha, rng)
    np.testing.assert_allclose(shares.sum(axis=0), 1.0, atol=1e-5)
    owned = [(shares.argmax(axis=0) == zone)[alpha == 1.0].mean() for zone in range(len(shares))]
    assert min(owned) > 0.05
    grey = Figure(np.full((*alpha.shape, 3), 0.5, np.float32), alpha)
    colours = recolour(grey, rng)
    means = [colours[(shares[zone] > 0.99) & (alpha == 1.0)] for zone in range(1, len(shares))]
    assert colours.std(axis=(0, 1)).max() > 0.05
    assert all(len(mean) for mean in means)


def test_equal_recipes_make_equal_files_and_more_pairs_the_same_first(
    sources: tuple[Path, Path], made: list[MadePair], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cutouts, photographs = sources
    options = ["--cutouts", cutouts, "--photographs", photographs, "--pairs", 4, "--seed", 5, "--size", SIZE]
    arguments = ["make", *options, "--share", 0.6, "--out", tmp_path / "again"]
    monkeypatch.setattr(sys, "argv", [str(argument) for argument in arguments])
    main()
    for path in folder.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
    assert len(find_pairs(tmp_path / "again")) == 4
    other = next(make_pairs(Recipe(Kind.SELF, photographs, cutouts, 1, seed=6, size=SIZE, share=0.6)))
    assert not np.array_equal(other.pictures["target"], made[0].pictures["target"])


def test_composites_have_exact_masks_and_no_truth(sources: tuple[Path, Path], tmp_path: Path) -> None:
    cutouts, photographs = sources
    for one in make_pairs(Recipe(Kind.COMPOSITE, photographs, cutouts, 2, seed=0, size=SIZE, share=0.5)):
        write_pair(one, tmp_path)
    for files in find_pairs(tmp_path):
        assert (files.set_name, files.has_truth, files.judged) == ("composite", False, True)
        pair = files.read()
        for side in (pair.target, pair.reference):
            longer = max(np.ptp(axis) + 1 for axis in np.nonzero(side.mask))
            assert 0.25 * SIZE <= longer <= 0.65 * SIZE


def test_large_figures_are_cut_from_large_photographs(tmp_path: Path) -> None:
    """At a photograph's own size: a figure that is cut and not moved has its very pixels."""
    small, large = tmp_path / "small", tmp_path / "large"
    draw_sources(small)
    _, photographs = draw_sources(large, photograph_px=(3600, 2400))
    with pytest.raises(BadSource, match="8000000"):
        next(make_pairs(Recipe(Kind.LARGE, small, None, 1, seed=0, size=300, share=0.6)))
    pair = next(make_pairs(Recipe(Kind.LARGE, photographs, None, 1, seed=0, size=300, share=2 / 3)))
    assert pair.name == "large-00"
    rows, columns = np.nonzero(pair.pictures["target-mask"] > 0.5)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == pytest.approx(200, abs=2)
    inside = pair.pictures["target"][pair.pictures["target-mask"] == 1.0]
    originals = [packed(np.asarray(Image.open(path))) for path in find_photographs(photographs)]
    assert np.isin(packed(np.rint(inside * 255)), np.concatenate(originals)).mean() > 0.99


def packed(levels: NDArray[np.generic]) -> NDArray[np.int64]:
    """One number for every colour."""
    numbers: NDArray[np.int64] = levels.reshape(-1, 3).astype(np.int64) @ np.array([65536, 256, 1])
    return numbers


def test_folders_without_anything_to_make_pairs_of_are_refused(
    sources: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cutouts, photographs = sources
    with pytest.raises(BadSource, match="no PNG with transparency"):
        find_cutouts(photographs)
    assert [path.name for path in find_cutouts(cutouts)] == ["corner.png", "blob.png", "opaque.png"]
    (tmp_path / "nothing").mkdir()
    with pytest.raises(BadSource, match="no photograph"):
        find_photographs(tmp_path / "nothing")
    for wrong in (["--share", "2"], ["--pairs", "0"], ["--photographs", str(tmp_path / "nothing")]):
        options = ["--cutouts", str(cutouts), "--photographs", str(photographs), "--out", str(tmp_path / "out"), *wrong]
        monkeypatch.setattr(sys, "argv", ["make", *options])
        with pytest.raises(SystemExit, match="2"):
            main()
    monkeypatch.setattr(sys, "argv", ["make", "--photographs", str(photographs), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "--cutouts: self pairs are made of them" in capsys.readouterr().err


METHODS = ("ours", "moved", "warp", "identity", "colour_transfer", "true_map")


def test_made_pairs_are_evaluated_by_their_truth(folder: Path, tmp_path: Path) -> None:
    """With the true map of a figure the moved picture is nearer to the truth than the target; by random networks it is
    not, and places are hardly ever found."""
    loaded = LoadedModels(tiny_models(), id="tiny", revision="0", device="cpu", dtype="float32")
    params = TransferParams(num_inference_steps=2, matching=MatchingParams(ensemble_size=1))
    pairs, kept = find_pairs(folder), tmp_path / "kept"
    plan = PhotographPlan(METHODS, params, seed=0)
    report = evaluate_photographs(loaded, pairs, plan, kept)
    every = report["all"]
    assert set(every) == {
        *("within_12", "delta_e", "sharpness", "edge_correlation", "ring", "outside_max"),
        *("pck_0.1", "pck_0.05", "box_pck_0.1", "box_pck_0.05", "auto_iou"),
    }
    assert every["delta_e"] == report["methods"]["ours"]["delta_e"]
    assert every["outside_max"]["mean"] == 0.0
    assert set(report["sets"]) == {"bent", "perspective", "turned"}
    assert report["sets"]["turned"]["delta_e"]["weight"] == 1.0
    assert report["methods_by_set"]["bent"].keys() == set(METHODS)
    low, high = every["within_12"]["ci95"]
    assert low <= every["within_12"]["mean"] <= high
    assert report["methods"]["identity"]["outside_max"]["mean"] == 0.0
    assert 0.0 <= every["auto_iou"]["mean"] <= 1.0
    table = photographs_table(report)
    assert "true_map" in table
    assert "perspective" in table
    draw_photographs_sheet(report, kept, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == ((5 + len(METHODS)) * 256, 20 + 3 * 256)
    page = photographs_page(report, kept)
    assert page.count("data:image/jpeg;base64,") == 3
    assert "edge_correlation" in page
    assert json.dumps(evaluate_photographs(loaded, pairs, plan, kept)) == json.dumps(report)


def test_pairs_without_a_map_have_no_figure_for_it(folder: Path, tmp_path: Path) -> None:
    for path in folder.glob("turned-*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "turned-00-map.json").unlink()
    (files,) = find_pairs(tmp_path)
    assert isinstance(files, PairFiles)
    loaded = LoadedModels(tiny_models(), id="tiny", revision="0", device="cpu", dtype="float32")
    plan = PhotographPlan(("identity", "true_map"), TransferParams(), seed=0)
    report = evaluate_photographs(loaded, [files], plan, tmp_path / "kept")
    assert report["methods"]["true_map"] == {}
    assert report["methods"]["identity"]["delta_e"]["weight"] == 1.0
    assert "-" in photographs_table(report)
