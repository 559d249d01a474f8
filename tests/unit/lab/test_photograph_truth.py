"""Figures against the truth: the straight computation, the published script, and what arithmetic demands."""

import json
import math
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lab.baselines.pictures import optimal_slope
from lab.metrics.regions import Bytes
from lab.photographs.folder import BadFolder, PhotographPair, find_pairs
from lab.photographs.make.pairs import Kind, Recipe, make_pairs, write_pair
from lab.photographs.matches import intersection_over_union, score_boxes
from lab.photographs.truth import TRUTH_FIGURES, cie76, score_truth
from tests.cutouts import draw_sources

HEIGHT, WIDTH = 40, 56
SCRIPTS = [folder / "shared" / "photo-truth" / "score_self.py" for folder in Path(__file__).parents]
SCRIPT = next((script for script in SCRIPTS if script.exists()), None)
"""The published script, in a folder beside the checkout."""


@pytest.fixture
def pictures() -> tuple[Bytes, Bytes, Bytes, Bytes]:
    """Result, truth, target and a mask with a soft edge: an ellipse of noise on a ramp."""
    rng = np.random.default_rng(4)
    rows, columns = np.indices((HEIGHT, WIDTH))
    inside = 1.0 - np.hypot((rows - 19.0) / 13.0, (columns - 30.0) / 19.0)
    mask = np.clip(128.0 + 900.0 * inside, 0, 255).astype(np.uint8)
    target = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    truth = np.clip(target // 3 + rows[..., None] * 3, 0, 255).astype(np.uint8)
    result = np.clip(truth + rng.normal(0.0, 12.0, truth.shape), 0, 255).astype(np.uint8)
    result[mask == 0] = target[mask == 0]
    result[2, 3, 1] = target[2, 3, 1] ^ 7
    return result, truth, target, mask


def test_the_figures_are_the_straight_computation(pictures: tuple[Bytes, Bytes, Bytes, Bytes]) -> None:
    result, truth, target, mask = pictures
    figures = {name: figure.value for name, figure in score_truth(*pictures).items()}
    inside = [(y, x) for y in range(HEIGHT) for x in range(WIDTH) if mask[y, x] > 250]
    away = [_difference(result[place], truth[place]) for place in inside]
    assert figures["within_12"] == pytest.approx(sum(d < 12.0 for d in away) / len(away), abs=1e-12)
    assert figures["delta_e"] == pytest.approx(sum(away) / len(away), abs=1e-9)
    own, true = (_steepness(_blurred(picture, 1.0), inside) for picture in (result, truth))
    assert figures["sharpness"] == pytest.approx(sum(own) / sum(true), abs=1e-9)
    sides = [max(place[axis] for place in inside) - min(place[axis] for place in inside) for axis in (0, 1)]
    own, true = (_steepness(_blurred(picture, max(sides) / 128.0), inside) for picture in (result, truth))
    assert figures["edge_correlation"] == pytest.approx(_correlation(own, true), abs=1e-9)
    ring = _ring(mask > 127)
    around = [_difference(result[place], truth[place]) for place in ring]
    assert figures["ring"] == pytest.approx(sum(around) / len(around), abs=1e-9)
    outside = [(y, x) for y in range(HEIGHT) for x in range(WIDTH) if mask[y, x] == 0]
    changes = [abs(int(result[place][c]) - int(target[place][c])) for place in outside for c in range(3)]
    assert figures["outside_max"] == max(changes) > 0


def _difference(one: Bytes, other: Bytes) -> float:
    return math.dist(_lab(one), _lab(other))


def _lab(colour: Bytes) -> tuple[float, float, float]:
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in colour / 255.0)
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089
    x, y, z = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def _blurred(picture: Bytes, sigma: float) -> NDArray[np.float64]:
    """By the whole kernel in two dimensions, the picture mirrored beyond its border."""
    grey: NDArray[np.float64] = picture.astype(np.float64).sum(axis=-1) / 3.0 / 255.0
    radius = int(4.0 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = np.outer(weights, weights) / weights.sum() ** 2
    padded = np.pad(grey, radius, mode="symmetric")
    blurred = np.zeros_like(grey)
    for dy, dx in np.ndindex(kernel.shape):
        blurred += kernel[dy, dx] * padded[dy : dy + HEIGHT, dx : dx + WIDTH]
    return blurred


def _steepness(grey: NDArray[np.float64], places: list[tuple[int, int]]) -> list[float]:
    """Of places that lie inside the picture, by central differences."""
    return [math.hypot(grey[y + 1, x] - grey[y - 1, x], grey[y, x + 1] - grey[y, x - 1]) / 2.0 for y, x in places]


def _correlation(own: list[float], true: list[float]) -> float:
    a, b = np.array(own) - np.mean(own), np.array(true) - np.mean(true)
    return float((a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum()))


def _ring(figure: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Places from which four steps along rows and columns, and no fewer, may be needed to reach the other side."""
    steps = [(dy, dx) for dy in range(-4, 5) for dx in range(-4, 5) if abs(dy) + abs(dx) <= 4]
    within = np.zeros((HEIGHT + 8, WIDTH + 8), np.bool_)
    within[4:-4, 4:-4] = figure
    around = [[within[y + 4 + dy, x + 4 + dx] for dy, dx in steps] for y, x in np.ndindex(HEIGHT, WIDTH)]
    places = list(np.ndindex(HEIGHT, WIDTH))
    return [(y, x) for (y, x), seen in zip(places, around, strict=True) if any(seen) and not all(seen)]


def test_the_truth_itself_is_perfect_and_what_is_missing_weighs_nothing(
    pictures: tuple[Bytes, Bytes, Bytes, Bytes],
) -> None:
    _, truth, target, mask = pictures
    perfect = np.where((mask == 0)[..., None], target, truth)
    figures = score_truth(perfect, perfect, target, mask)
    assert [figures[name].value for name in TRUTH_FIGURES] == pytest.approx([1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    everywhere = score_truth(perfect, truth, target, np.full_like(mask, 255))
    assert everywhere["outside_max"].weight == 0.0
    nowhere = score_truth(perfect, truth, target, np.zeros_like(mask))
    assert [name for name in TRUTH_FIGURES if nowhere[name].weight] == ["outside_max"]
    flat = score_truth(np.zeros_like(truth), np.zeros_like(truth), target, mask)
    assert flat["sharpness"].weight == flat["edge_correlation"].weight == 0.0
    assert flat["within_12"].value == 1.0


def test_cielab_has_the_known_values() -> None:
    white, red = cie76(np.array([[255, 255, 255], [255, 0, 0]], np.uint8))
    np.testing.assert_allclose(white, [100.0, 0.0, 0.0], atol=0.02)
    np.testing.assert_allclose(red, [53.23, 80.11, 67.22], atol=0.02)


@pytest.mark.skipif(SCRIPT is None, reason="no shared/photo-truth beside the checkout")
def test_the_published_script_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cutouts, photographs = draw_sources(tmp_path)
    folder, results = tmp_path / "pairs", tmp_path / "results"
    folder.mkdir()
    results.mkdir()
    rng = np.random.default_rng(0)
    for one in make_pairs(Recipe(Kind.SELF, photographs, cutouts, 3, seed=1, size=160, share=0.6)):
        write_pair(one, folder)
        noisy = one.pictures["truth"] + rng.normal(0.0, 0.06, one.pictures["truth"].shape)
        levels = (noisy.clip(0.0, 1.0) * 255.0).round().astype(np.uint8)
        Image.fromarray(levels).save(results / f"{one.name}-result.png")
    assert SCRIPT is not None
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(folder), str(results)])
    published = {row[0]: row[1:] for row in runpy.run_path(str(SCRIPT))["rows"]}
    for files in find_pairs(folder):
        pair, result = files.read(), np.asarray(Image.open(results / f"{files.name}-result.png"))
        assert pair.truth is not None
        figures = score_truth(result, pair.truth, pair.target.image, pair.target.mask)
        within, delta, _, *others = published[files.name]
        assert [figures[name].value for name in TRUTH_FIGURES] == pytest.approx([within, delta, *others], abs=1e-6)


def test_boxes_are_laid_onto_each_other_the_right_way_round(tmp_path: Path) -> None:
    """A figure twice the size and mirrored: every place is found, and a figure bent by a third of its side is not."""
    target, reference = np.zeros((40, 40), np.uint8), np.zeros((60, 80), np.uint8)
    target[10:20, 5:25] = 255
    reference[30:50, 20:60] = 255
    points = [
        {"target": [(5 + 20 * u) / 40, (10 + 10 * v) / 40], "reference": [(60 - 40 * u) / 80, (30 + 20 * v) / 60]}
        for u, v in ((0.1, 0.2), (0.5, 0.9), (0.8, 0.3))
    ]
    pair = read(tmp_path, target, reference, points)
    assert score_boxes(pair.target, pair.reference, pair.points) == {0.1: 1.0, 0.05: 1.0}
    points[0]["reference"][0] -= 0.33 * 40 / 80
    pair = read(tmp_path, target, reference, points)
    assert score_boxes(pair.target, pair.reference, pair.points) == pytest.approx({0.1: 2 / 3, 0.05: 2 / 3})


def read(folder: Path, target: Bytes, reference: Bytes, points: object) -> PhotographPair:
    for role, mask in (("target", target), ("reference", reference)):
        Image.fromarray(np.dstack([mask] * 3)).save(folder / f"one-{role}.png")
        Image.fromarray(mask).save(folder / f"one-{role}-mask.png")
    (folder / "one-points.json").write_text(json.dumps(points))
    (files,) = find_pairs(folder)
    return files.read()


def test_what_lies_beside_a_pair_is_checked(tmp_path: Path) -> None:
    mask = np.full((20, 20), 255, np.uint8)
    for points in ([], [{"target": [0.5, 1.5], "reference": [0, 0]}], "no list"):
        with pytest.raises(BadFolder, match=r"one-points\.json"):
            read(tmp_path, mask, mask, points)
    good = [{"target": [0.5, 0.5], "reference": [0.5, 0.5]}]
    Image.new("RGB", (20, 21)).save(tmp_path / "one-truth.png")
    with pytest.raises(BadFolder, match=r"one-truth\.png is 20 x 21"):
        read(tmp_path, mask, mask, good)
    (tmp_path / "one-truth.png").unlink()
    for places in ([], [[[0.5, 0.5]], []], [[[0.5, 2.0]]], [[[0.1, 0.1]] * 65]):
        (tmp_path / "one-map.json").write_text(json.dumps(places))
        with pytest.raises(BadFolder, match=r"one-map\.json"):
            read(tmp_path, mask, mask, good)


def test_overlap_of_masks() -> None:
    one, other = np.zeros((4, 4), np.bool_), np.zeros((4, 4), np.bool_)
    one[:2], other[1:3] = True, True
    assert intersection_over_union(one, other) == pytest.approx(4 / 12)


def test_the_linear_map_of_colours_gives_the_covariance_and_moves_least() -> None:
    """Symmetric and positive: the gradient of a convex function, which makes a transport optimal (Brenier 1991)."""
    rng = np.random.default_rng(2)
    own, other = (np.cov(rng.normal(size=(3, 40)) * [[1.0], [0.4], [2.0]]) for _ in range(2))
    slope = optimal_slope(own, other)
    np.testing.assert_allclose(slope @ own @ slope.T, other, atol=1e-9)
    np.testing.assert_allclose(slope, slope.T, atol=1e-9)
    assert np.linalg.eigvalsh(slope).min() > 0.0
