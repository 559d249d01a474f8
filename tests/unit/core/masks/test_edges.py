"""Masks along the edges of a picture."""

import pytest
import torch

from core.masks import edges
from core.masks.edges import follow_edges

SIZE = (192, 256)


def halves(noise: float = 0.02) -> torch.Tensor:
    """Two colours with a slanted border between them."""
    y, x = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    inside = (x + y // 2 > 150).float()
    colours = torch.tensor([[0.2, 0.5, 0.3], [0.7, 0.4, 0.2]])
    picture = colours[0][:, None, None] * (1 - inside) + colours[1][:, None, None] * inside
    return (picture + noise * torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(0))).clamp(0.0, 1.0)


def truth() -> torch.Tensor:
    return halves(0.0)[0] > 0.5


def coarse(cells: int = 16) -> torch.Tensor:
    """The truth a little blurred, in few cells."""
    return torch.nn.functional.adaptive_avg_pool2d(truth().float()[None], (cells * 3 // 4, cells))[0]


def test_the_outline_moves_to_the_edge() -> None:
    found = follow_edges(coarse(), halves())
    plain = torch.nn.functional.interpolate(coarse()[None, None], size=SIZE, mode="bilinear")[0, 0]
    wrong, wrong_before = ((one > 0.5) != truth() for one in (found, plain))
    assert found.shape == SIZE
    assert 0.0 <= float(found.min()) <= float(found.max()) <= 1.0
    assert float(wrong.float().mean()) < 0.1 * float(wrong_before.float().mean())


def test_bytes_and_strips_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = (halves() * 255.0).round().to(torch.uint8)
    whole = follow_edges(coarse(), picture.float() / 255.0)
    torch.testing.assert_close(follow_edges(coarse(), picture), whole)
    monkeypatch.setattr(edges, "STRIP_PX", 7 * SIZE[1])
    torch.testing.assert_close(follow_edges(coarse(), picture), whole, rtol=0.0, atol=1e-4)


@pytest.mark.parametrize("size", [(8, 8), (8, 300), (20, 20)])
def test_small_pictures_have_masks_too(size: tuple[int, int]) -> None:
    found = follow_edges(torch.ones(4, 4), torch.rand(3, *size))
    torch.testing.assert_close(found, torch.ones(size), rtol=0.0, atol=1e-3)
