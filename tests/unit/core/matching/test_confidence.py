"""Belief in matches, blending of several, and borrowing from neighbours: small cases worked out by hand."""

import pytest
import torch
from core.matching.windows import AS_IT_IS, mirrored, on_canvas

from core.injection import FeatureInjection, InjectedRegion, Injection
from core.matching.confidence import MatchRule, borrow_nearest, far_from_mutual, rank, ratio_test
from core.matching.correspondence import TokenMap
from core.matching.solver import match_consistently, settle_doubts
from core.sampling.trajectory import believed

LINE = (1, 6)
ALL = torch.ones(6, dtype=torch.bool)


def test_a_match_that_leads_home_is_believed_and_one_that_leads_away_is_not() -> None:
    index = torch.tensor([0, 1, 2, 3, 4, 0])
    backward = torch.tensor([0, 1, 2, 3, 4, 5])
    confidence = far_from_mutual(index, backward, LINE)
    assert confidence[:5].tolist() == [1.0] * 5
    assert confidence[5] == pytest.approx(torch.exp(torch.tensor(-0.5 * 25 / 4)))


def test_a_match_is_believed_as_far_as_no_other_place_is_as_good() -> None:
    cosine = torch.tensor([[0.9, 0.85, 0.0, 0.0, 0.0, 0.2], [0.9, 0.0, 0.0, 0.0, 0.0, 0.89]])
    confidence = ratio_test(cosine, torch.tensor([0, 0]), LINE, ALL)
    assert confidence[0] == 1.0  # what is as good lies next to it; elsewhere the best is 0.2
    assert confidence[1] == pytest.approx((1.0 - 0.1 / 0.11) / 0.2, rel=1e-3)
    hidden = ratio_test(cosine, torch.tensor([0, 0]), LINE, torch.tensor([True] * 5 + [False]))
    assert hidden[1] == pytest.approx((1.0 - 0.1 / 1.0) / 0.2 if 0.1 > 0.8 else 1.0)


def test_doubted_tokens_continue_the_nearest_believed_match() -> None:
    index = torch.tensor([1, 0, 0, 0, 5, 2])
    confidence = torch.tensor([1.0, 0.1, 0.2, 0.0, 0.9, 0.3])
    there = torch.tensor([True, True, True, True, True, False])
    moved, doubted = borrow_nearest(index, confidence, LINE, ALL, there)
    # 1 and 2 continue 0 (which matched 1); 3 continues 4 (which matched 5); 5 would leave the picture.
    assert moved.tolist() == [1, 2, 3, 4, 5, 5]
    assert doubted.tolist() == [False, True, True, True, False, True]


def test_where_nothing_is_believed_nothing_is_borrowed() -> None:
    index = torch.tensor([3, 3, 3, 3, 3, 3])
    moved, doubted = borrow_nearest(index, torch.zeros(6), LINE, ALL, ALL)
    assert torch.equal(moved, index)
    assert not doubted.any()


def test_shares_follow_likeliness_and_leave_out_what_may_not_be_taken() -> None:
    belief = torch.log(torch.tensor([[0.5, 0.25, 0.25, 0.0]]))
    indices, shares = rank(belief, 4)
    assert indices[0, 0] == 0
    torch.testing.assert_close(shares[0], torch.tensor([0.5, 0.25, 0.25, 0.0]))


def test_picking_blends_by_shares_and_leaves_doubted_tokens_their_own() -> None:
    source = torch.tensor([[[0.0], [1.0], [2.0]]])
    own = torch.full((1, 3, 1), 10.0)
    found = TokenMap(
        (1, 3),
        torch.tensor([0, 1, 2]),
        torch.ones(3),
        torch.tensor([1.0, 0.0, 0.5]),
        torch.tensor([[0, 2], [1, 0], [2, 0]]),
        torch.tensor([[0.5, 0.5], [1.0, 0.0], [1.0, 0.0]]),
    )
    assert found.pick(source, own).flatten().tolist() == [1.0, 10.0, 6.0]
    hard = TokenMap((1, 3), torch.tensor([2, 1, 0]), torch.ones(3))
    assert hard.pick(source, own).flatten().tolist() == [2.0, 1.0, 0.0]


def test_all_of_a_map_moves_with_its_grid_and_its_mirror_image() -> None:
    found = TokenMap(
        (1, 2),
        torch.tensor([1, 0]),
        torch.tensor([0.5, 0.25]),
        torch.tensor([1.0, 0.0]),
        torch.tensor([[1, 0], [0, 1]]),
        torch.tensor([[0.75, 0.25], [1.0, 0.0]]),
    )
    finer = found.resized((2, 4))
    assert finer.index.tolist() == [2, 3, 0, 1, 6, 7, 4, 5]
    assert finer.ranked is not None
    assert finer.ranked[:, 0].tolist() == finer.index.tolist()
    assert finer.ranked[:, 1].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert finer.confidence is not None
    assert finer.confidence.tolist() == [1.0, 1.0, 0.0, 0.0] * 2
    flipped = on_canvas(found, AS_IT_IS, mirrored(AS_IT_IS), (1, 2), torch.ones(2, dtype=torch.bool))
    assert flipped.index.tolist() == [0, 1]
    assert flipped.confidence is not None
    assert flipped.confidence.tolist() == [1.0, 0.0]
    assert flipped.ranked is not None
    assert flipped.ranked.tolist() == [[0, 1], [1, 0]]


def test_a_whole_map_is_judged_filled_in_and_blended() -> None:
    """Two tokens of the target look alike; only one of them is what the reference shows."""
    vectors = torch.eye(6)
    target = vectors.clone()
    target[5] = 0.9 * vectors[0] + 0.1 * vectors[5]
    rule = MatchRule(mutual=True)
    plain = match_consistently(target, vectors, LINE, ALL, ALL, smoothness=0.0, rule=rule)
    assert plain.index.tolist() == [0, 1, 2, 3, 4, 0]
    assert plain.confidence is not None
    assert plain.confidence[:5].min() == 1.0
    assert plain.confidence[5] < 0.1
    filled = settle_doubts(plain, ALL, ALL)
    assert filled.index.tolist() == [0, 1, 2, 3, 4, 5]
    assert filled.confidence is None
    blended = match_consistently(target, vectors, LINE, ALL, ALL, smoothness=0.0, rule=MatchRule(ranks=2))
    assert blended.shares is not None
    torch.testing.assert_close(blended.shares.sum(-1), torch.ones(6))
    assert (blended.shares[:, 0] > 0.9).all()


def test_less_of_the_clean_latent_moves_where_matches_are_doubted() -> None:
    found = TokenMap((1, 2), torch.tensor([0, 1]), torch.ones(2), torch.tensor([1.0, 0.0]))
    weight = believed(found, torch.ones(2, 8))
    assert weight[:, 0].tolist() == [1.0, 1.0]
    assert weight[:, -1].tolist() == [0.0, 0.0]
    assert torch.equal(believed(TokenMap((1, 2), torch.tensor([0, 1]), torch.ones(2)), weight), weight)


def test_layers_match_anew_only_when_they_are_told() -> None:
    calls: list[int] = []

    def match(
        output: torch.Tensor, reference: torch.Tensor, grid: tuple[int, int], here: torch.Tensor, there: torch.Tensor
    ) -> TokenMap:
        calls.append(len(output))
        return TokenMap(grid, torch.arange(len(output)), torch.ones(len(output)))

    mask = torch.ones(4, 4)
    injection = FeatureInjection([InjectedRegion(mask, mask)], match=match)
    injection.mode = Injection.MATCHED
    for rematch, expected in ((False, 2), (False, 2), (True, 4)):
        injection.rematch = rematch
        for layer, tokens in (("fine", 16), ("coarse", 4)):
            injection(layer, torch.randn(3, tokens, 5))
        assert len(calls) == expected
