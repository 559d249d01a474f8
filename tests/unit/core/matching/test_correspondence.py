"""Correspondences on other grids, through windows, and in the terms of the pictures."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.images.geometry import WHOLE, crop_window, extent, mirrored, token_places
from core.masks.regions import SelectedRegion, place_regions
from core.matching.correspondence import Correspondence, LocalAffine, describe, uncropped
from tests.unit.core.scenes import make_region

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


def test_places_of_matches_are_those_of_each_regions_reference() -> None:
    """Left half: a reference that fills the canvas; right half: one that fills its middle half only."""
    target = torch.rand(3, 16, 16)
    masks = torch.zeros(2, 16, 16)
    masks[0, :, :8], masks[1, :, 8:] = 1.0, 1.0
    wide, tall = torch.rand(3, 16, 16), torch.rand(3, 16, 8)
    selected = [SelectedRegion(wide, masks[0], None), SelectedRegion(tall, masks[1], None)]
    canvases = place_regions(target, selected, (16, 16))
    regions = [
        replace(make_region(*torch.ones(2, 8, 8)), reference=reference, target_mask=mask)
        for reference, mask in zip(canvases.references, canvases.target_masks, strict=True)
    ]
    maps = [Correspondence((4, 4), torch.full((16,), 5), torch.ones(16))] * 2
    found = describe(maps, canvases.target.mask, regions)
    assert found.region.tolist() == [[0, 0, 1, 1]] * 4
    assert found.positions[0, 0].tolist() == [0.375, 0.375]
    assert found.positions[0, 3].tolist() == [0.25, 0.375]  # of the middle half, which begins at 1/4
