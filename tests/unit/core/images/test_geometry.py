"""What is seen through windows, and maps between windows as maps between the canvases behind them."""

from dataclasses import replace

import pytest
import torch
from core.matching.windows import AS_IT_IS, FILL, MAGNIFIED, frame_around, look_through, mirrored, on_canvas
from torch import Tensor

from core.images.geometry import AffineMap, extent, token_places
from core.masks.regions import Masks
from core.matching.correspondence import LocalMaps, TokenMap
from core.models.models import Models
from core.params.transfer import TransferParams
from core.pipeline import match, transfer

CANVAS = (40, 60)
GRID = (10, 10)


def mask(top: int, bottom: int, left: int, right: int) -> Tensor:
    inside = torch.zeros(CANVAS)
    inside[top:bottom, left:right] = 1.0
    return inside


def test_a_figure_fills_the_middle_of_its_window() -> None:
    inside = mask(5, 15, 30, 50)
    seen = look_through(frame_around(inside), inside[None], (100, 100), beyond="zeros")[0] > 0.5
    rows, columns = torch.nonzero(seen.any(1))[:, 0], torch.nonzero(seen.any(0))[:, 0]
    assert int(columns[-1] - columns[0]) + 1 == pytest.approx(100 * FILL, abs=2)
    assert int(rows[-1] - rows[0]) + 1 == pytest.approx(100 * FILL / 2, abs=2)
    assert float(rows.float().mean()) == pytest.approx(49.5, abs=1)
    assert float(columns.float().mean()) == pytest.approx(49.5, abs=1)


def test_a_tiny_figure_is_magnified_so_far_and_a_whole_canvas_not_cut() -> None:
    tiny = frame_around(mask(20, 22, 30, 32))
    assert float(tiny.linear[0, 0] * 60) == pytest.approx((40 * 60) ** 0.5 / MAGNIFIED)
    whole = frame_around(torch.ones(CANVAS))
    corners = whole(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    assert corners.flatten().tolist() == pytest.approx([0.0, -0.25, 1.0, 1.25])  # square, as wide as the canvas


def test_the_canvas_as_it_is_and_its_mirror_image() -> None:
    picture = torch.rand(3, *CANVAS, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(look_through(AS_IT_IS, picture, CANVAS, beyond="border"), picture)
    torch.testing.assert_close(look_through(mirrored(AS_IT_IS), picture, CANVAS, beyond="border"), picture.flip(-1))


def test_affine_maps_follow_one_another_and_lead_back() -> None:
    first = AffineMap(torch.tensor([[0.8, -0.3], [0.2, 1.1]]), torch.tensor([0.1, -0.2]))
    second = AffineMap(torch.tensor([[0.0, 1.0], [-1.0, 0.5]]), torch.tensor([0.4, 0.3]))
    places = torch.rand(7, 2)
    torch.testing.assert_close(second.after(first)(places), second(first(places)))
    torch.testing.assert_close(first.inverse()(first(places)), places)
    here, there = torch.tensor([4.0, 2.0]), torch.tensor([3.0, 5.0])
    torch.testing.assert_close(first.rescaled(here, there)(places * here), first(places) * there)


@pytest.mark.parametrize("flip", [False, True])
def test_a_map_between_windows_is_the_one_between_the_canvases(flip: bool) -> None:
    """Both figures are one thing at two places and sizes: in their windows every token matches itself."""
    here, there = frame_around(mask(0, 40, 0, 40)), frame_around(mask(10, 30, 36, 56))
    there = mirrored(there) if flip else there
    every = torch.arange(100)
    found = TokenMap(GRID, every, torch.linspace(0, 1, 100), refined=None)
    plain = torch.eye(2).expand(100, 2, 2)
    found = replace(found, refined=LocalMaps(GRID, token_places(GRID, torch.zeros(())), plain))
    grid = (20, 30)
    seen = on_canvas(found, here, there, grid, torch.ones(600, dtype=torch.bool))
    places = token_places(grid, torch.zeros(())) / extent(grid, torch.zeros(()))
    expected = there(here.inverse()(places))
    inside = (mask(0, 40, 0, 40)[1::2, 1::2] > 0).flatten()
    assert (seen.positions() - expected)[inside].abs().max() < 1e-5
    slope = seen.local_maps.slopes[0]
    torch.testing.assert_close(slope, torch.diag(torch.tensor([-0.5 if flip else 0.5, 0.5])))


def test_what_lies_beyond_the_mask_goes_to_the_nearest_token_in_it() -> None:
    allowed = torch.zeros(600, dtype=torch.bool)
    allowed[5 * 30 + 20] = True
    found = TokenMap(GRID, torch.arange(100), torch.ones(100))
    seen = on_canvas(found, AS_IT_IS, AS_IT_IS, (20, 30), allowed)
    assert set(seen.index.tolist()) == {5 * 30 + 20}


def test_framing_and_a_second_look_change_matches_only_where_a_mask_sets_a_figure_apart(
    models: Models, pictures: tuple[Tensor, Tensor]
) -> None:
    asked = TransferParams(num_steps=2, match_draws=1)
    off = TransferParams(num_steps=2, match_draws=1, match_framing=False, match_looks=1)
    whole = [match(models, *pictures, params, seed=0).matches.positions for params in (asked, off)]
    assert torch.equal(*whole)
    target_mask = torch.zeros(pictures[0].shape[1:])
    target_mask[10:50, 20:60] = 1.0
    masked = [
        match(models, *pictures, params, masks=Masks(target=target_mask), seed=0).matches for params in (asked, off)
    ]
    assert not torch.equal(masked[0].positions, masked[1].positions)
    assert torch.equal(masked[0].inside, masked[1].inside)
    assert transfer(models, *pictures, asked, masks=Masks(target=target_mask), seed=0).image.shape == (60, 88, 3)
