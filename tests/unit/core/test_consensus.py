import pytest
import torch
import torch.nn.functional as F

from core.matching.solver import agree_with_neighbours, match_consistently

GRID = (6, 6)
ALL = torch.ones(36, dtype=torch.bool)


def descriptors(seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(36, 24, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_without_weight_the_order_is_that_of_the_cosines() -> None:
    cosine = torch.rand(36, 36) * 2 - 1
    belief = agree_with_neighbours(cosine, GRID, ALL, ALL, weight=0.0)
    assert torch.equal(belief.argsort(dim=-1, stable=True), cosine.argsort(dim=-1, stable=True))


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_wrong_token_among_right_neighbours_is_put_right(mirrored: bool) -> None:
    reference = descriptors()
    where = torch.arange(36).unflatten(0, GRID)
    expected = (where.flip(-1) if mirrored else where).flatten()
    target = reference[expected].clone()
    wrong = 2 * 6 + 2
    target[wrong] = 0.7 * reference[expected[wrong]] + 0.8 * reference[35 if not mirrored else 30]
    alone = match_consistently(target, reference, GRID, ALL, ALL, smoothness=0.0)
    assert alone.index[wrong] != expected[wrong]
    together = match_consistently(target, reference, GRID, ALL, ALL, smoothness=2.0)
    assert torch.equal(together.index, expected)
    torch.testing.assert_close(together.similarity[0], torch.tensor(1.0))


def test_masked_out_reference_tokens_are_never_believed() -> None:
    allowed = ALL.clone()
    allowed[10:] = False
    matches = match_consistently(descriptors(1), descriptors(2), GRID, ALL, allowed, smoothness=6.0)
    assert bool((matches.index < 10).all())
    assert bool(torch.isfinite(matches.similarity).all())


def test_tokens_outside_the_target_mask_have_no_say() -> None:
    inside = torch.zeros(GRID, dtype=torch.bool)
    inside[:3] = True
    target, reference = descriptors(3), descriptors(4)
    first = match_consistently(target, reference, GRID, inside.flatten(), ALL, smoothness=6.0)
    target[18:] = descriptors(5)[18:]
    again = match_consistently(target, reference, GRID, inside.flatten(), ALL, smoothness=6.0)
    assert torch.equal(first.index[:18], again.index[:18])


def test_a_small_part_listens_to_its_own_colour() -> None:
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
        int(agree_with_neighbours(cosine, GRID, ALL, ALL, weight=2.0, colours=given)[7].argmax())
        for given in (None, colours)
    ]
    assert found == [7, 35]
