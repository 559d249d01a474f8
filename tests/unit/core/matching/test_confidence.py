"""Confidence in matches, and what becomes of those that are not trusted: small cases worked out by hand."""

import pytest
import torch

from core.matching.confidence import continue_nearest, mutual_confidence, ratio_test
from core.matching.solver import TokenMasks, fill_untrusted
from tests.unit.core.matching.solving import solved

LINE = (1, 6)
ALL = torch.ones(6, dtype=torch.bool)


def test_a_match_that_leads_home_is_trusted_and_one_that_leads_away_is_not() -> None:
    index = torch.tensor([0, 1, 2, 3, 4, 0])
    backward = torch.tensor([0, 1, 2, 3, 4, 5])
    confidence = mutual_confidence(index, backward, LINE)
    assert confidence[:5].tolist() == [1.0] * 5
    assert confidence[5] == pytest.approx(torch.exp(torch.tensor(-0.5 * 25 / 4)))


def test_a_match_is_trusted_as_far_as_no_other_place_is_as_good() -> None:
    cosine = torch.tensor([[0.9, 0.85, 0.0, 0.0, 0.0, 0.2], [0.9, 0.0, 0.0, 0.0, 0.0, 0.89]])
    confidence = ratio_test(cosine, torch.tensor([0, 0]), LINE, ALL)
    assert confidence[0] == 1.0  # what is as good lies next to it; elsewhere the best is 0.2
    assert confidence[1] == pytest.approx((1.0 - 0.1 / 0.11) / 0.2, rel=1e-3)
    hidden = ratio_test(cosine, torch.tensor([0, 0]), LINE, torch.tensor([True] * 5 + [False]))
    assert hidden[1] == pytest.approx((1.0 - 0.1 / 1.0) / 0.2 if 0.1 > 0.8 else 1.0)


def test_tokens_that_are_not_trusted_continue_the_nearest_trusted_match() -> None:
    index = torch.tensor([1, 0, 0, 0, 5, 2])
    confidence = torch.tensor([1.0, 0.1, 0.2, 0.0, 0.9, 0.3])
    there = torch.tensor([True, True, True, True, True, False])
    moved, filled = continue_nearest(index, confidence, LINE, ALL, there)
    # 1 and 2 continue 0 (which matched 1); 3 continues 4 (which matched 5); 5 would leave the picture.
    assert moved.tolist() == [1, 2, 3, 4, 5, 5]
    assert filled.tolist() == [False, True, True, True, False, True]


def test_where_nothing_is_trusted_nothing_is_continued() -> None:
    index = torch.tensor([3, 3, 3, 3, 3, 3])
    moved, filled = continue_nearest(index, torch.zeros(6), LINE, ALL, ALL)
    assert torch.equal(moved, index)
    assert not filled.any()


def test_a_whole_map_is_judged_and_filled_in() -> None:
    """Two tokens of the target look alike; only one of them is what the reference shows."""
    vectors = torch.eye(6)
    target = vectors.clone()
    target[5] = 0.9 * vectors[0] + 0.1 * vectors[5]
    judged = solved((target, vectors), LINE, (ALL, ALL), filter="mutual")
    assert judged.index.tolist() == [0, 1, 2, 3, 4, 0]
    assert judged.confidence is not None
    assert judged.confidence[:5].min() == 1.0
    assert judged.confidence[5] < 0.1
    for filled in (
        fill_untrusted(judged, TokenMasks(ALL, ALL)),
        solved((target, vectors), LINE, (ALL, ALL), filter="mutual", fill="nearest"),
    ):
        assert filled.index.tolist() == [0, 1, 2, 3, 4, 5]
        assert filled.confidence is None
