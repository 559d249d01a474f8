"""Figures on constructed results whose value is known: the truth, the target itself, and pictures spoilt by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from lab.metrics.background import score_background
from lab.metrics.colour import score_colour
from lab.metrics.judge import FIGURES, Judge
from lab.metrics.regions import blurred_inside, counted_parts, distance_to, part_borders
from lab.metrics.structure import find_edges, score_structure, true_borders
from lab.pairs import Pair, PairSet, make_pair, sample_pair
from lab.scenes import Category, Domain, sample_scene

PITCH = 4.0


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return [sample_pair(Domain.TUNING, seed, 128) for seed in range(6)]


def painted(pair: Pair, name: str, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The truth, except that one part shows another picture."""
    whole = {part.name: part.whole for part in counted_parts(pair)}[name]
    return np.where(whole[..., None], picture, pair.truth.image)


def test_the_truth_scores_full_marks(pairs: list[Pair]) -> None:
    for pair in pairs:
        figures = Judge(pair, token_pitch_px=PITCH)(pair.truth.image)
        assert tuple(figures) == FIGURES
        assert figures["colour_accuracy"].value == 1.0
        assert figures["colour_de2000"].value == 0.0
        assert figures["structure_rate"].value >= 0.97
        assert figures["background_psnr"].value == 99.0
        assert figures["texture_rate"].value == 1.0 or figures["texture_rate"].weight == 0.0
        assert figures["markings_left"].value == 0.0
    assert np.mean([score_structure(pair.truth.image, true_borders(pair)).value for pair in pairs]) >= 0.98


def test_the_target_itself_keeps_structure_and_background_and_all_its_markings(pairs: list[Pair]) -> None:
    own = [Judge(pair, token_pitch_px=PITCH)(pair.target.image) for pair in pairs]
    assert np.mean([figures["structure_rate"].value for figures in own]) > 0.9
    assert all(figures["background_psnr"].value == 99.0 for figures in own)
    assert np.mean([figures["colour_accuracy"].value for figures in own]) < 0.2
    assert all(figures["texture_rate"].value == 0.0 for figures in own)
    marked = [figures["markings_left"] for figures in own if figures["markings_left"].weight]
    assert marked
    assert all(figure.value == 1.0 for figure in marked)


def test_one_wrong_part_of_n_costs_one_nth(pairs: list[Pair]) -> None:
    pair = pairs[0]
    parts = [part.name for part in counted_parts(pair)]
    inverted = 255 - pair.truth.image
    for name in parts:
        score = score_colour(painted(pair, name, inverted), pair, PITCH)
        assert score.accuracy.value == pytest.approx(1.0 - 1.0 / len(parts), abs=0.01)
        assert score.de2000.value > 0.0


def test_a_pair_that_shares_no_part_has_no_colours_to_judge() -> None:
    car, flower = (sample_scene(Domain.TUNING, 3, kind) for kind in (Category.CAR, Category.FLOWER))
    pair = make_pair(car, flower, 64)
    assert score_colour(pair.truth.image, pair, PITCH).accuracy.weight == 0.0


def test_counted_pixels_stay_off_borders_and_have_a_counterpart(pairs: list[Pair]) -> None:
    for pair in pairs:
        label = pair.target.part
        for part in counted_parts(pair):
            assert part.whole.sum() >= 64
            rows, columns = np.nonzero(part.counted)
            for shift in (-2, -1, 1, 2):
                assert np.array_equal(label[np.clip(rows + shift, 0, 127), columns], label[rows, columns])
                assert np.array_equal(label[rows, np.clip(columns + shift, 0, 127)], label[rows, columns])
            assert pair.correspondence.visible[part.counted].all()


def test_structure_is_lost_in_one_flat_colour_and_in_a_moved_figure(pairs: list[Pair]) -> None:
    for pair in pairs:
        assert score_structure(np.full_like(pair.truth.image, 128), true_borders(pair)).value == 0.0
        moved = np.roll(pair.truth.image, (9, 7), axis=(0, 1))
        assert score_structure(moved, true_borders(pair)).value < 0.75


def test_edges_deep_inside_parts_do_not_count(pairs: list[Pair]) -> None:
    pair = pairs[0]
    deep = distance_to(part_borders(pair.target.part)) > 8.0
    assert deep.any()
    spotted = pair.truth.image.copy()
    spotted[deep] = 255 - spotted[deep]
    shallow = score_structure(pair.truth.image, true_borders(pair)).value
    assert score_structure(spotted, true_borders(pair)).value == pytest.approx(shallow, abs=0.005)


def test_a_step_of_lab_is_an_edge_where_it_is_and_a_faint_one_is_none() -> None:
    picture = np.full((32, 32, 3), 100, np.uint8)
    picture[:, 16:] = 130
    edges = find_edges(picture)
    assert set(np.nonzero(edges)[1]) <= {15, 16}
    assert edges.any(axis=1).all()
    picture[:, 16:] = 104
    assert not find_edges(picture).any()


def test_background_psnr_is_its_formula(pairs: list[Pair]) -> None:
    pair = pairs[0]
    off = pair.target.image.astype(np.int16)
    off += np.where(off < 128, 5, -5).astype(np.int16)
    expected = 20.0 * np.log10(255.0 / 5.0)
    assert score_background(off.astype(np.uint8), pair).value == pytest.approx(expected)


def test_distances_count_from_the_crack_between_two_parts() -> None:
    part = np.zeros((4, 8), np.uint8)
    part[:, 4:] = 1
    assert distance_to(part_borders(part))[0].tolist() == [3.5, 2.5, 1.5, 0.5, 0.5, 1.5, 2.5, 3.5]
    assert np.isinf(distance_to(part_borders(np.zeros((4, 4), np.uint8)))).all()


def test_a_blur_inside_a_region_takes_nothing_from_outside() -> None:
    region = np.zeros((16, 16), np.bool_)
    region[:, :8] = True
    picture = np.where(region[..., None], 0.25, 1.0) * np.ones(3)
    np.testing.assert_allclose(blurred_inside(picture, region, 3.0)[region], 0.25)


def test_across_categories_only_shared_parts_count() -> None:
    pair = sample_pair(Domain.TUNING, 0, 128, PairSet.CROSS)
    names = {part.name for part in counted_parts(pair)}
    assert names
    assert names <= {"body", "head", "tail", "eye"}
