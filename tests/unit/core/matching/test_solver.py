"""Tokens matched one by one against a loop, and with their neighbours on small cases worked out by hand."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from core.matching.solver import (
    Constraints,
    TokenMasks,
    agree_with_neighbours,
    combine_features,
    cosines,
    match_tokens,
)
from core.models.part_classifier import disagreement
from tests.unit.core.matching.solving import solved

GRID = (6, 6)
ALL = torch.ones(36, dtype=torch.bool)
EVERYTHING = TokenMasks(ALL, ALL)


def loop_match(target: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor) -> list[int]:
    """The paper's formula read literally, token by token."""
    matched = []
    for p in target:
        best, best_cosine = -1, -float("inf")
        for q, vector in enumerate(reference):
            if mask[q]:
                cosine = float(torch.dot(p, vector) / (p.norm() * vector.norm()))
                if cosine > best_cosine:
                    best, best_cosine = q, cosine
        matched.append(best)
    return matched


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), tokens=st.integers(2, 30), chunk=st.integers(1, 200))
def test_one_matrix_product_equals_the_loop_in_any_chunks(seed: int, tokens: int, chunk: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(17, 6, generator=generator, dtype=torch.float64)
    reference = torch.randn(tokens, 6, generator=generator, dtype=torch.float64)
    mask = torch.rand(tokens, generator=generator) < 0.7
    mask[seed % tokens] = True
    index, similarity = match_tokens(target, reference, mask, chunk_elements=chunk)
    expected = loop_match(target, reference, mask)
    assert index.tolist() == expected
    cosine = torch.nn.functional.cosine_similarity(target, reference[expected])
    torch.testing.assert_close(similarity, cosine, rtol=0, atol=1e-12)


def test_masked_out_tokens_never_win_even_where_every_other_cosine_is_negative() -> None:
    target = torch.ones(3, 4)
    reference = torch.stack([torch.ones(4), -torch.ones(4), torch.zeros(4)])
    index, similarity = match_tokens(target, reference, torch.tensor([False, True, False]))
    assert index.tolist() == [1, 1, 1]
    torch.testing.assert_close(similarity, -torch.ones(3))


def test_matching_with_itself_is_the_identity() -> None:
    features = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    index, _ = match_tokens(features, features, torch.ones(40, dtype=torch.bool))
    assert index.tolist() == list(range(40))


def test_half_precision_features_are_compared_in_float32() -> None:
    features = torch.randn(5, 8).half()
    _, similarity = match_tokens(features, features, torch.ones(5, dtype=torch.bool))
    assert similarity.dtype == torch.float32


def test_combined_features_lose_what_all_tokens_share() -> None:
    generator = torch.Generator().manual_seed(1)
    signal = torch.randn(16, 5, generator=generator)
    shared = 100.0 * torch.randn(1, 5, generator=generator)
    mask = torch.ones(8, 8)
    plain, grid = combine_features([signal], [(4, 4)], mask)
    shifted, _ = combine_features([signal + shared], [(4, 4)], mask)
    assert grid == (4, 4)
    torch.testing.assert_close(plain, shifted, rtol=0, atol=1e-4)


def test_layers_of_two_grids_meet_on_the_finer_one() -> None:
    combined, grid = combine_features([torch.randn(4, 3), torch.randn(16, 2)], [(2, 2), (4, 4)], torch.ones(8, 8))
    assert grid == (4, 4)
    assert combined.shape == (16, 5)


def test_the_cosine_of_combined_features_is_the_mean_by_their_weights() -> None:
    generator = torch.Generator().manual_seed(2)
    grids, weights, mask = [(4, 4)] * 3, [0.5, 0.5, 1.0], torch.ones(8, 8)
    layers = [torch.randn(2, 16, channels, generator=generator) for channels in (5, 7, 3)]
    here, there = (combine_features([layer[row] for layer in layers], grids, mask, weights)[0] for row in (0, 1))
    alone = [cosines(*(layer - layer.mean(1, keepdim=True))) for layer in layers]
    mean = 0.25 * alone[0] + 0.25 * alone[1] + 0.5 * alone[2]
    torch.testing.assert_close(cosines(here, there), mean, rtol=0, atol=1e-5)


def descriptors(seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(36, 24, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_without_weight_the_order_is_that_of_the_cosines() -> None:
    cosine = torch.rand(36, 36) * 2 - 1
    log_posterior = agree_with_neighbours(cosine, GRID, EVERYTHING, weight=0.0)
    assert torch.equal(log_posterior.argsort(dim=-1, stable=True), cosine.argsort(dim=-1, stable=True))


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_wrong_token_among_right_neighbours_is_put_right(mirrored: bool) -> None:
    reference = descriptors()
    where = torch.arange(36).unflatten(0, GRID)
    expected = (where.flip(-1) if mirrored else where).flatten()
    target = reference[expected].clone()
    wrong = 2 * 6 + 2
    target[wrong] = 0.7 * reference[expected[wrong]] + 0.8 * reference[35 if not mirrored else 30]
    alone = solved((target, reference), GRID, (ALL, ALL), neighbor_weight=0.0)
    assert alone.index[wrong] != expected[wrong]
    together = solved((target, reference), GRID, (ALL, ALL), neighbor_weight=2.0)
    assert torch.equal(together.index, expected)
    torch.testing.assert_close(together.similarity[0], torch.tensor(1.0))


def test_masked_out_reference_tokens_are_never_matched() -> None:
    allowed = ALL.clone()
    allowed[10:] = False
    matches = solved((descriptors(1), descriptors(2)), GRID, (ALL, allowed), neighbor_weight=6.0)
    assert bool((matches.index < 10).all())
    assert bool(torch.isfinite(matches.similarity).all())


def test_tokens_outside_the_target_mask_have_no_weight() -> None:
    inside = torch.zeros(GRID, dtype=torch.bool)
    inside[:3] = True
    target, reference = descriptors(3), descriptors(4)
    first = solved((target, reference), GRID, (inside.flatten(), ALL), neighbor_weight=6.0)
    target[18:] = descriptors(5)[18:]
    again = solved((target, reference), GRID, (inside.flatten(), ALL), neighbor_weight=6.0)
    assert torch.equal(first.index[:18], again.index[:18])


def test_a_small_part_follows_its_own_colour() -> None:
    """Four tokens in a corner match elsewhere than all others; the inner one, in doubt, goes with those of its colour,
    and without colours with the five around it."""
    cosine = torch.eye(36)
    part, elsewhere = torch.tensor([0, 1, 6, 7]), torch.tensor([28, 29, 34, 35])
    cosine[part] = 0.0
    cosine[part, elsewhere] = 1.0
    cosine[7] = 0.0
    cosine[7, 7] = cosine[7, 35] = 0.5
    colours = torch.full((36, 3), 0.2)
    colours[part] = 0.8
    found = [
        int(agree_with_neighbours(cosine, GRID, EVERYTHING, weight=2.0, colours=given)[7].argmax())
        for given in (None, colours)
    ]
    assert found == [7, 35]


def test_confusable_parts_are_kept_apart_by_their_names() -> None:
    """Two places of the reference look alike; the one of the right part is taken as soon as parts have a weight."""
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    reference = torch.tensor([[1.0, 0.1], [1.0, 0.0]])  # the second looks most like token 0, but is of the other part
    everywhere = torch.ones(2, dtype=torch.bool)
    parts = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    apart = disagreement(parts, parts)
    assert apart.tolist() == [[0.0, 1.0], [1.0, 0.0]]
    found = [
        solved((target, reference), (1, 2), (everywhere, everywhere), Constraints(penalty=weight * apart)).index[0]
        for weight in (0.0, 0.5)
    ]
    assert found == [1, 0]
    undecided = torch.full((2, 2), 0.5)
    assert disagreement(undecided, parts).unique().tolist() == [0.5]
