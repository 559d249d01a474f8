"""Correspondences on other grids, through windows, and in the terms of the pictures."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.images.geometry import WHOLE, crop_window, extent, mirrored, token_places
from core.matching.correspondence import GRID_SIDE, Correspondence, Described, LocalAffine, describe, uncropped
from core.types import Canvas

CANVAS = (40, 60)
GRID = (10, 10)


def mask(top: int, bottom: int, left: int, right: int) -> Tensor:
    inside = torch.zeros(CANVAS)
    inside[top:bottom, left:right] = 1.0
    return inside


def test_positions_are_token_centres_as_x_and_y() -> None:
    found = Correspondence((2, 4), torch.tensor([0, 3, 4, 7, 0, 0, 0, 0]), torch.zeros(8))
    assert found.positions()[:4].tolist() == [[0.125, 0.25], [0.875, 0.25], [0.125, 0.75], [0.875, 0.75]]


def test_a_finer_grid_keeps_the_places_inside_a_token() -> None:
    swapped = Correspondence((1, 2), torch.tensor([1, 0]), torch.tensor([0.5, 0.25]))
    fine = swapped.resized((2, 4))
    assert fine.index.unflatten(0, (2, 4)).tolist() == [[2, 3, 0, 1], [6, 7, 4, 5]]
    assert fine.similarity.unflatten(0, (2, 4))[0].tolist() == [0.5, 0.5, 0.25, 0.25]


def test_the_identity_stays_the_identity_on_every_grid() -> None:
    identity = Correspondence((4, 6), torch.arange(24), torch.ones(24))
    for grid in ((8, 12), (2, 3), (4, 6)):
        assert identity.resized(grid).index.tolist() == list(range(grid[0] * grid[1]))


@pytest.mark.parametrize("flip", [False, True])
def test_a_map_between_windows_is_the_one_between_the_canvases(flip: bool) -> None:
    """Both figures are one thing at two places and sizes: in their windows every token matches itself."""
    here, there = crop_window(mask(0, 40, 0, 40)), crop_window(mask(10, 30, 36, 56))
    there = mirrored(there) if flip else there
    every = torch.arange(100)
    found = Correspondence(GRID, every, torch.linspace(0, 1, 100), refined=None)
    plain = torch.eye(2).expand(100, 2, 2)
    found = replace(found, refined=LocalAffine(GRID, token_places(GRID, torch.zeros(())), plain))
    grid = (20, 30)
    seen = uncropped(found, here, there, grid, torch.ones(600, dtype=torch.bool))
    places = token_places(grid, torch.zeros(())) / extent(grid, torch.zeros(()))
    expected = there(here.inverse()(places))
    inside = (mask(0, 40, 0, 40)[1::2, 1::2] > 0).flatten()
    assert (seen.positions() - expected)[inside].abs().max() < 1e-5
    slope = seen.local_affine.slopes[0]
    torch.testing.assert_close(slope, torch.diag(torch.tensor([-0.5 if flip else 0.5, 0.5])))


def test_what_lies_beyond_the_mask_goes_to_the_nearest_token_in_it() -> None:
    allowed = torch.zeros(600, dtype=torch.bool)
    allowed[5 * 30 + 20] = True
    found = Correspondence(GRID, torch.arange(100), torch.ones(100))
    seen = uncropped(found, WHOLE, WHOLE, (20, 30), allowed)
    assert set(seen.index.tolist()) == {5 * 30 + 20}


def test_rearranging_takes_what_was_matched_and_leaves_tokens_that_are_not_trusted_their_own() -> None:
    source = torch.tensor([[[0.0], [1.0], [2.0]]])
    own = torch.full((1, 3, 1), 10.0)
    found = Correspondence((1, 3), torch.tensor([0, 1, 2]), torch.ones(3), torch.tensor([1.0, 0.0, 0.5]))
    assert found.rearrange(source, own).flatten().tolist() == [0.0, 10.0, 6.0]
    hard = Correspondence((1, 3), torch.tensor([2, 1, 0]), torch.ones(3))
    assert hard.rearrange(source, own).flatten().tolist() == [2.0, 1.0, 0.0]


def test_all_of_a_map_moves_with_its_grid_and_its_mirror_image() -> None:
    found = Correspondence((1, 2), torch.tensor([1, 0]), torch.tensor([0.5, 0.25]), torch.tensor([1.0, 0.0]))
    finer = found.resized((2, 4))
    assert finer.index.tolist() == [2, 3, 0, 1, 6, 7, 4, 5]
    assert finer.confidence is not None
    assert finer.confidence.tolist() == [1.0, 1.0, 0.0, 0.0] * 2
    flipped = uncropped(found, WHOLE, mirrored(WHOLE), (1, 2), torch.ones(2, dtype=torch.bool))
    assert flipped.index.tolist() == [0, 1]
    assert flipped.confidence is not None
    assert flipped.confidence.tolist() == [1.0, 0.0]


def test_places_of_matches_are_those_of_each_figures_reference() -> None:
    """Left half: a reference that fills the canvas; right half: one that fills its middle half only."""
    masks = torch.zeros(2, 16, 16)
    masks[0, :, :8], masks[1, :, 8:] = 1.0, 1.0
    blank, everywhere = torch.zeros(3, 16, 16), torch.ones(16, 16)
    wide, tall = (Canvas(blank, everywhere, box) for box in ((0.0, 0.0, 1.0, 1.0), (0.25, 0.0, 0.5, 1.0)))
    plain = Correspondence((4, 4), torch.arange(16), torch.ones(16))
    figures = [
        Described(plain, Canvas(blank, mask, (0.0, 0.0, 1.0, 1.0)), reference, number)
        for number, (mask, reference) in enumerate(zip(masks, (wide, tall), strict=True))
    ]
    found = describe(figures, 1.0)
    half = GRID_SIDE // 2
    assert found.region[:, :half].eq(0).all()
    assert found.region[:, half:].eq(1).all()
    x = (torch.arange(GRID_SIDE) + 0.5) / GRID_SIDE
    torch.testing.assert_close(found.positions[0, :half, 0], x[:half])
    torch.testing.assert_close(found.positions[0, half:, 0], ((x[half:] - 0.25) / 0.5).clamp(max=1.0))


def test_the_identity_over_a_cropped_figure_is_told_as_the_places_themselves_and_nothing_outside() -> None:
    inside = torch.zeros(32, 32)
    inside[8:24, 8:24] = 1.0
    canvas = Canvas(torch.zeros(3, 32, 32), inside, (-0.5, -0.75, 2.0, 4.0))
    plain = Correspondence((8, 8), torch.arange(64), torch.full((64,), 0.5))
    found = describe([Described(plain, canvas, canvas, 2)], 0.5)
    assert found.similarity.shape == (GRID_SIDE // 2, GRID_SIDE)
    y, x = torch.meshgrid(*((torch.arange(n) + 0.5) / n for n in (GRID_SIDE // 2, GRID_SIDE)), indexing="ij")
    expected = (x > 0.375) & (x < 0.625) & (y > 0.25) & (y < 0.375)
    assert torch.equal(found.inside, expected)
    places = torch.stack([x, y], dim=-1)
    torch.testing.assert_close(found.positions[expected], places[expected])
    assert found.positions[~expected].isnan().all()
    assert found.similarity[~expected].eq(0).all()
    assert found.confidence[~expected].eq(0).all()
    assert found.region[expected].eq(2).all()
