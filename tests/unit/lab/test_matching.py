"""Pairs and the scoring of matches, on cases whose value is known."""

import numpy as np
import pytest

from lab.metrics.matches import at_tokens, figure_side, nearest_position, score_matches
from lab.pairs import Pair, PairSet, make_pair, sample_pair
from lab.scenes import Category, Domain, sample_scene

GRID = (32, 32)


@pytest.fixture(scope="module")
def self_pair() -> Pair:
    """A scene with itself: every token's counterpart is itself."""
    scene = sample_scene(Domain.TUNING, 9, Category.BIRD)
    return make_pair(scene, scene, 128)


def test_the_identity_scores_one_on_a_self_pair(self_pair: Pair) -> None:
    score = score_matches(self_pair, np.arange(32 * 32), GRID)
    assert score.right_part == 1.0
    assert score.pck_10 == score.pck_05 == 1.0


def test_a_shift_beyond_the_threshold_scores_nothing(self_pair: Pair) -> None:
    shift = int(np.ceil(0.1 * figure_side(self_pair.reference) / 4)) + 1
    score = score_matches(self_pair, np.minimum(np.arange(32 * 32) + 32 * shift, 32 * 32 - 1), GRID)
    assert score.pck_10 == 0.0


def test_a_shift_between_the_thresholds_scores_the_wider_one_only(self_pair: Pair) -> None:
    side_in_tokens = figure_side(self_pair.reference) / 4
    shift = round(0.075 * side_in_tokens)
    score = score_matches(self_pair, np.minimum(np.arange(32 * 32) + shift, 32 * 32 - 1), GRID)
    assert score.pck_10 > 0.95
    assert score.pck_05 < 0.05


def test_the_true_correspondence_scores_one() -> None:
    pair = sample_pair(Domain.TUNING, 3, 128)
    row, column = (at_tokens(plane, GRID) for plane in (pair.correspondence.row, pair.correspondence.column))
    score = score_matches(pair, (row // 4 * 32 + column // 4).astype(np.int64), GRID)
    assert score.pck_05 == 1.0
    assert score.right_part > 0.8, "a token's centre may fall into a neighbouring part, no more"


def test_nearest_position_is_the_identity_on_a_self_pair(self_pair: Pair) -> None:
    inside = at_tokens(self_pair.target.part, GRID) > 0
    assert np.array_equal(nearest_position(self_pair, GRID)[inside], np.flatnonzero(inside))


def test_sets_relate_their_poses_as_they_are_named() -> None:
    for seed in range(12):
        aligned, unaligned = (
            sample_pair(Domain.TUNING, seed, 32, kind) for kind in (PairSet.ALIGNED, PairSet.UNALIGNED)
        )
        assert aligned.target_scene.pose.mirror == aligned.reference_scene.pose.mirror
        poses = (unaligned.target_scene.pose, unaligned.reference_scene.pose)
        assert poses[0].mirror != poses[1].mirror
        assert abs(poses[0].rotation - poses[1].rotation) > np.pi / 6
        assert sorted(pose.span for pose in poses) == [0.45, 0.9]
        cross = sample_pair(Domain.TUNING, seed, 32, PairSet.CROSS)
        assert cross.target_scene.category != cross.reference_scene.category
