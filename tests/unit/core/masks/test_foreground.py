"""The thing in a photograph: which, where and how surely."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.errors import EmptyMaskError
from core.masks.foreground import AGREES, expected_iou, find_thing
from core.models.models import Models
from tests.tiny_salient import colour_finder
from tests.tiny_segmenters import tiny_segmenter

RED, BLUE = torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.1, 0.1, 0.9])


def picture(*things: tuple[int, Tensor]) -> Tensor:
    """Squares of 20 pixels at columns of a grey picture of 64 x 128."""
    grey = torch.full((3, 64, 128), 0.5)
    for left, colour in things:
        grey[:, 22:42, left : left + 20] = colour[:, None, None]
    return grey


def inside(left: int) -> tuple[slice, slice]:
    return slice(25, 39), slice(left + 3, left + 17)


def test_what_the_network_finds_has_the_pictures_size(models: Models) -> None:
    found = find_thing(replace(models, salient=colour_finder()), picture((50, RED)), None, "target")
    assert found.weights.shape == (64, 128)
    assert float(found.weights[inside(50)].min()) == 1.0
    assert float(found.weights[:, :40].max()) == 0.0
    assert found.confidence is not None
    assert found.confidence > 0.8


def test_without_another_picture_all_things_are_meant(models: Models) -> None:
    both = picture((20, RED), (90, BLUE))
    weights = find_thing(replace(models, salient=colour_finder()), both, None, "target").weights
    assert float(weights[inside(20)].min()) == float(weights[inside(90)].min()) == 1.0
    assert float(weights[:, 50:80].max()) == 0.0


def test_what_does_not_stand_out_is_said(models: Models) -> None:
    for shown, sharpness in ((picture(), 60.0), (picture((50, RED)), 0.0)):
        with pytest.raises(EmptyMaskError, match=r"nothing stands out clearly in the reference \(confidence 0\.\d\d\)"):
            find_thing(replace(models, salient=colour_finder(sharpness)), shown, None, "reference")


def test_without_a_network_the_samplers_own_serves(models: Models) -> None:
    assert models.salient is None
    noise = torch.rand(3, 40, 56, generator=torch.Generator().manual_seed(1))
    assert find_thing(models, noise, None, "target").weights.shape == (40, 56)


def test_sam_draws_the_outline_where_it_agrees(models: Models) -> None:
    """A random SAM may agree or not; either is taken for what it is."""
    segmenter = tiny_segmenter()
    shown = picture((50, RED))
    alone = replace(models, salient=colour_finder())
    own = find_thing(alone, shown, None, "target").weights
    box = (50 / 128, 22 / 64, 70 / 128, 42 / 64)
    drawn = segmenter.outline(shown, box=box)
    agreement = float(((own > 0.5) & (drawn > 0.5)).sum() / ((own > 0.5) | (drawn > 0.5)).sum())
    found = find_thing(replace(alone, segmenter=segmenter), shown, None, "target").weights
    assert torch.equal(found, drawn if agreement >= AGREES else own)


def test_confidence_is_the_expected_overlap() -> None:
    assert expected_iou(torch.zeros(4, 4)) == 0.0
    assert expected_iou(torch.ones(4, 4)) == 1.0
    assert expected_iou(torch.tensor([[0.8, 0.8, 0.2, 0.0]])) == pytest.approx(1.6 / 2.2)
