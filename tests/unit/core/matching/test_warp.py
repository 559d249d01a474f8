from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from core.matching.correspondence import Correspondence
from core.matching.warp import DenseFlow, dense_flow, rearrange_picture

GRID = (8, 8)
SIZE = (32, 32)


def correspondence(index: torch.Tensor) -> Correspondence:
    """From `[rows, columns]` indices."""
    return Correspondence((index.shape[0], index.shape[1]), index.flatten(), torch.ones(index.numel()))


def warp(
    picture: torch.Tensor,
    index: torch.Tensor,
    inside: torch.Tensor | None = None,
    guide: torch.Tensor | None = None,
) -> torch.Tensor:
    trusted = torch.ones(index.numel(), dtype=torch.bool) if inside is None else inside.flatten()
    flow = dense_flow(correspondence(index), trusted, (picture.shape[1], picture.shape[2]), guide)
    return F.grid_sample(picture[None], flow[None], padding_mode="border", align_corners=False)[0]


def smooth_picture() -> torch.Tensor:
    """A picture that bilinear sampling reproduces: linear in x and y."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 32), torch.linspace(0, 1, 32), indexing="ij")
    return torch.stack([x, y, x + 2 * y])


PLAIN = torch.arange(64).unflatten(0, GRID)


@pytest.mark.parametrize(
    "turn",
    [
        lambda picture: picture,
        lambda picture: picture.flip(-1),
        lambda picture: picture.flip(-2),
        lambda picture: picture.transpose(-1, -2),
        lambda picture: picture.rot90(1, (-2, -1)),
    ],
    ids=["identity", "mirrored", "upside-down", "transposed", "rotated"],
)
def test_the_inside_of_a_token_turns_with_its_neighbours(turn: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Copying whole tokens would leave each one unturned; away from the rim the fit turns it too."""
    picture = smooth_picture()
    difference = (warp(picture, turn(PLAIN)) - turn(picture))[:, 4:-4, 4:-4].abs().max()
    assert difference < 0.012  # a third of a latent position: the prior's pull towards a plain copy


def test_neighbours_on_another_surface_do_not_bend_the_map() -> None:
    """The halves change places; at the seam each side goes on as its own half does."""
    straight = PLAIN.clone()
    straight[:, :4] = PLAIN[:, :4] + 4
    straight[:, 4:] = PLAIN[:, :4]
    picture = smooth_picture()
    moved = warp(picture, straight)
    expected = torch.cat([picture[..., 16:], picture[..., :16]], dim=-1)
    torch.testing.assert_close(moved[:, 4:-4, 4:-4], expected[:, 4:-4, 4:-4], rtol=0, atol=0.02)


def test_tokens_that_may_not_be_trusted_continue_their_neighbours() -> None:
    inside = torch.ones(GRID, dtype=torch.bool)
    inside[:, :2] = False
    wild = PLAIN.clone()
    wild[:, :2] = 63
    picture = smooth_picture()
    moved = warp(picture, wild, inside)
    torch.testing.assert_close(moved[:, 4:-4, 4:-4], picture[:, 4:-4, 4:-4], rtol=0, atol=0.012)


def lonely() -> tuple[torch.Tensor, torch.Tensor]:
    """A noisy picture, and a plain copy of it in which one token was matched far away."""
    scattered = PLAIN.clone()
    scattered[3, 3] = 63
    return torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)), scattered


def test_a_lonely_match_is_overruled_by_neighbours_that_agree() -> None:
    picture, scattered = lonely()
    torch.testing.assert_close(warp(picture, scattered)[:, 8:20, 8:20], picture[:, 8:20, 8:20], rtol=0, atol=1e-4)


def test_a_lonely_match_is_a_plain_copy_where_the_target_shows_another_colour_there() -> None:
    picture, scattered = lonely()
    guide = torch.zeros(3, 32, 32)
    guide[0, 12:16, 12:16] = 1.0
    moved = warp(picture, scattered, guide=guide)
    torch.testing.assert_close(moved[:, 12:16, 12:16], picture[:, 28:32, 28:32], rtol=0, atol=1e-4)
    torch.testing.assert_close(moved[:, 8:20, 8:12], picture[:, 8:20, 8:12], rtol=0, atol=1e-4)


def test_the_border_between_two_surfaces_runs_along_the_edge_of_the_target() -> None:
    """The halves change places between two tokens; the target's edge lies a quarter of a token further left."""
    swapped = torch.cat([PLAIN[:, 4:], PLAIN[:, :4]], dim=1)
    picture = smooth_picture()
    guide = torch.zeros(3, 32, 32)
    guide[:, :, 15:] = 1.0
    moved = warp(picture, swapped, guide=guide)
    expected = torch.cat([picture[..., 16:31], picture[..., :1], picture[..., :16]], dim=-1)
    torch.testing.assert_close(moved[:, 4:-4, 4:-4], expected[:, 4:-4, 4:-4], rtol=0, atol=0.02)


def test_the_identity_map_leaves_a_latent_unchanged() -> None:
    latent = torch.randn(4, 8, 12)
    moved = rearrange_picture(latent, correspondence(torch.arange(24).unflatten(0, (4, 6))), torch.ones(8, 12))
    torch.testing.assert_close(moved, latent, rtol=0, atol=1e-5)


def test_a_rectangle_of_a_flow_is_that_part_of_the_whole() -> None:
    _, scattered = lonely()
    guide = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1))
    flow = DenseFlow(correspondence(scattered), torch.ones(64, dtype=torch.bool), guide)
    places = (torch.arange(32) + 0.5) / 32
    whole = flow.at(places, places, guide)
    part = flow.at(places[5:20], places[7:31], guide[:, 5:20, 7:31])
    assert torch.equal(part, whole[5:20, 7:31])
