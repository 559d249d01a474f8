"""Colours continued beyond a mask."""

import pytest
import torch

from core.images.canvas import continue_beyond, pull_push
from core.masks.regions import ChosenRegion
from core.matching.correspondence import TokenMap
from core.models.models import Models
from core.params.transfer import TransferParams
from core.pipeline import encode, prepare
from core.sampling.sampler import Rearranged, Start

SIDE = 32
MASK = torch.zeros(SIDE, SIDE)
MASK[8:24, 10:22] = 1.0
RED, GREEN = torch.tensor([0.9, 0.1, 0.1])[:, None, None], torch.tensor([0.1, 0.9, 0.1])[:, None, None]


def test_what_surrounds_a_figure_and_what_mixes_with_it_is_gone() -> None:
    picture = torch.where(MASK > 0.0, RED, GREEN)
    picture[:, 8, 10:22] = 0.5  # the outermost pixels show both
    torch.testing.assert_close(continue_beyond(picture, MASK), RED.expand(3, SIDE, SIDE))


def test_well_inside_nothing_changes_and_every_colour_comes_from_there() -> None:
    picture = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    inside = picture[:, 9:23, 11:21]
    continued = continue_beyond(picture, MASK)
    assert torch.equal(continued[:, 9:23, 11:21], inside)
    assert bool((continued.amax((1, 2)) <= inside.amax((1, 2))).all())
    assert bool((continued.amin((1, 2)) >= inside.amin((1, 2))).all())


def test_the_nearest_colours_are_continued() -> None:
    halves = torch.where(torch.arange(SIDE) < SIDE // 2, RED, GREEN).expand(3, SIDE, SIDE)
    continued = continue_beyond(torch.where(MASK > 0.0, halves, 0.0), MASK)
    torch.testing.assert_close(continued[:, 8:24, 9], RED[:, :, 0].expand(3, 16), rtol=0.0, atol=0.05)
    torch.testing.assert_close(continued[:, 8:24, 22], GREEN[:, :, 0].expand(3, 16), rtol=0.0, atol=0.05)


@pytest.mark.parametrize("mask", [torch.ones(SIDE, SIDE), torch.eye(SIDE), torch.zeros(SIDE, SIDE)])
def test_without_an_outline_or_an_inside_the_picture_stays(mask: torch.Tensor) -> None:
    picture = torch.rand(3, SIDE, SIDE)
    assert torch.equal(continue_beyond(picture, mask), picture)


@pytest.mark.parametrize("size", [(1, 7), (13, 1), (31, 18)])
def test_any_size_is_continued_from_one_pixel(size: tuple[int, int]) -> None:
    known = torch.zeros(1, 1, *size, dtype=torch.bool)
    known[..., 0, 0] = True
    values = torch.rand(1, 2, *size)
    torch.testing.assert_close(pull_push(values, known), values[..., :1, :1].expand_as(values))


def test_matches_beyond_the_references_outline_bring_none_of_its_surroundings(models: Models) -> None:
    """Every token is matched to a place outside the mask, before one background and before another."""
    target = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(5))
    mask = torch.zeros(64, 64)
    mask[16:48, 16:48] = 1.0
    corner = TokenMap((8, 8), torch.zeros(64, dtype=torch.long), torch.ones(64))
    latents = []
    for background in (GREEN, 1.0 - GREEN):
        reference = torch.where(mask > 0.0, RED, background).expand(3, 64, 64)
        params = TransferParams(resolution=64)
        canvases = prepare(models, target, [ChosenRegion(reference, mask, mask)], params)
        pairs, _ = encode(models, canvases, "", "", params)
        latents.append(Rearranged(models, canvases, pairs, 0.0).by(Start(0, [corner]))(0, corner))
    torch.testing.assert_close(latents[0], latents[1])
