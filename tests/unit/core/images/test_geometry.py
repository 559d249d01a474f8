"""Crop windows, affine maps, and the tokens under masks."""

import pytest
import torch
from torch import Tensor

from core.images.geometry import (
    CROP_FILL,
    MAX_MAGNIFICATION,
    WHOLE,
    AffineMap,
    crop,
    crop_window,
    mirrored,
    token_grid,
    token_mask,
)

CANVAS = (40, 60)


def mask(top: int, bottom: int, left: int, right: int) -> Tensor:
    inside = torch.zeros(CANVAS)
    inside[top:bottom, left:right] = 1.0
    return inside


def test_a_figure_fills_the_middle_of_its_window() -> None:
    inside = mask(5, 15, 30, 50)
    seen = crop(crop_window(inside), inside[None], (100, 100), beyond="zeros")[0] > 0.5
    rows, columns = torch.nonzero(seen.any(1))[:, 0], torch.nonzero(seen.any(0))[:, 0]
    assert int(columns[-1] - columns[0]) + 1 == pytest.approx(100 * CROP_FILL, abs=2)
    assert int(rows[-1] - rows[0]) + 1 == pytest.approx(100 * CROP_FILL / 2, abs=2)
    assert float(rows.float().mean()) == pytest.approx(49.5, abs=1)
    assert float(columns.float().mean()) == pytest.approx(49.5, abs=1)


def test_a_tiny_figure_is_magnified_so_far_and_a_whole_canvas_not_cut() -> None:
    tiny = crop_window(mask(20, 22, 30, 32))
    assert float(tiny.linear[0, 0] * 60) == pytest.approx((40 * 60) ** 0.5 / MAX_MAGNIFICATION)
    whole = crop_window(torch.ones(CANVAS))
    corners = whole(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    assert corners.flatten().tolist() == pytest.approx([0.0, -0.25, 1.0, 1.25])  # square, as wide as the canvas


def test_the_canvas_as_it_is_and_its_mirror_image() -> None:
    picture = torch.rand(3, *CANVAS, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(crop(WHOLE, picture, CANVAS, beyond="border"), picture)
    torch.testing.assert_close(crop(mirrored(WHOLE), picture, CANVAS, beyond="border"), picture.flip(-1))


def test_affine_maps_follow_one_another_and_lead_back() -> None:
    first = AffineMap(torch.tensor([[0.8, -0.3], [0.2, 1.1]]), torch.tensor([0.1, -0.2]))
    second = AffineMap(torch.tensor([[0.0, 1.0], [-1.0, 0.5]]), torch.tensor([0.4, 0.3]))
    places = torch.rand(7, 2)
    torch.testing.assert_close(second.after(first)(places), second(first(places)))
    torch.testing.assert_close(first.inverse()(first(places)), places)
    here, there = torch.tensor([4.0, 2.0]), torch.tensor([3.0, 5.0])
    torch.testing.assert_close(first.rescaled(here, there)(places * here), first(places) * there)


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


def test_tokens_that_do_not_tile_the_latent_are_a_bug() -> None:
    assert token_grid((16, 24), 96) == (8, 12)
    with pytest.raises(AssertionError, match="do not tile"):
        token_grid((16, 24), 97)
