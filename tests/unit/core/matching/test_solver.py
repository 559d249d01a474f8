import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.images.geometry import token_mask
from core.matching.correspondence import TokenMap
from core.matching.solver import combine_features, cosines, match_tokens


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


def test_a_soft_mask_counts_by_coverage_not_by_being_nonzero() -> None:
    mask = torch.zeros(4, 4)
    mask[:2, :2] = 0.2
    mask[:2, 2:] = 0.9
    mask[2:, :2] = 0.5
    assert token_mask(mask, (2, 2)).tolist() == [False, True, True, False]


def test_a_mask_finer_than_a_token_keeps_the_token_it_covers_most() -> None:
    mask = torch.zeros(8, 8)
    mask[5, 6] = 1.0
    assert token_mask(mask, (2, 2)).tolist() == [False, False, False, True]


def test_positions_are_token_centres_as_x_and_y() -> None:
    token_map = TokenMap((2, 4), torch.tensor([0, 3, 4, 7, 0, 0, 0, 0]), torch.zeros(8))
    assert token_map.positions()[:4].tolist() == [[0.125, 0.25], [0.875, 0.25], [0.125, 0.75], [0.875, 0.75]]


def test_a_finer_grid_keeps_the_places_inside_a_token() -> None:
    swapped = TokenMap((1, 2), torch.tensor([1, 0]), torch.tensor([0.5, 0.25]))
    fine = swapped.resized((2, 4))
    assert fine.index.unflatten(0, (2, 4)).tolist() == [[2, 3, 0, 1], [6, 7, 4, 5]]
    assert fine.similarity.unflatten(0, (2, 4))[0].tolist() == [0.5, 0.5, 0.25, 0.25]


def test_the_identity_stays_the_identity_on_every_grid() -> None:
    identity = TokenMap((4, 6), torch.arange(24), torch.ones(24))
    for grid in ((8, 12), (2, 3), (4, 6)):
        assert identity.resized(grid).index.tolist() == list(range(grid[0] * grid[1]))


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


def test_the_cosine_of_combined_features_is_the_mean_by_their_says() -> None:
    generator = torch.Generator().manual_seed(2)
    grids, says, mask = [(4, 4)] * 3, [0.5, 0.5, 1.0], torch.ones(8, 8)
    layers = [torch.randn(2, 16, channels, generator=generator) for channels in (5, 7, 3)]
    here, there = (combine_features([layer[row] for layer in layers], grids, mask, says)[0] for row in (0, 1))
    alone = [cosines(*(layer - layer.mean(1, keepdim=True))) for layer in layers]
    mean = 0.25 * alone[0] + 0.25 * alone[1] + 0.5 * alone[2]
    torch.testing.assert_close(cosines(here, there), mean, rtol=0, atol=1e-5)
