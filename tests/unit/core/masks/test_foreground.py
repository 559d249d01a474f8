"""The thing in a photograph: which, where and how surely."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.errors import EmptyMaskError
from core.masks.foreground import AGREES, expected_iou, find_thing
from core.masks.regions import select_surely
from core.models.models import Models
from core.params.selection import Selection
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


def test_what_the_network_finds_has_the_pictures_size() -> None:
    found = find_thing(colour_finder(), None, picture((50, RED)), None, "target")
    assert found.weights.shape == (64, 128)
    assert float(found.weights[inside(50)].min()) == 1.0
    assert float(found.weights[:, :40].max()) == 0.0
    assert found.confidence > 0.8


def test_without_another_picture_all_things_are_meant() -> None:
    both = picture((20, RED), (90, BLUE))
    weights = find_thing(colour_finder(), None, both, None, "target").weights
    assert float(weights[inside(20)].min()) == float(weights[inside(90)].min()) == 1.0
    assert float(weights[:, 50:80].max()) == 0.0


def test_what_does_not_stand_out_is_said() -> None:
    for shown, sharpness in ((picture(), 60.0), (picture((50, RED)), 0.0)):
        with pytest.raises(EmptyMaskError, match=r"nothing stands out clearly in the reference \(confidence 0\.\d\d\)"):
            find_thing(colour_finder(sharpness), None, shown, None, "reference")


def test_mode_auto_takes_the_network_where_there_is_one(models: Models) -> None:
    assert models.salient is None
    shown = picture((50, RED))
    for given, confident in ((models, False), (replace(models, salient=colour_finder()), True)):
        mask, confidence = select_surely(
            given, shown, None, Selection(), mode="auto", role="target", other=picture((20, BLUE))[:, :, :90]
        )
        assert mask is not None
        assert mask.shape == (64, 128)
        assert (confidence is not None) == confident


def test_sam_draws_the_outline_where_it_agrees() -> None:
    """A random SAM may agree or not; either is taken for what it is."""
    segmenter = tiny_segmenter()
    shown = picture((50, RED))
    own = find_thing(colour_finder(), None, shown, None, "target").weights
    box = (50 / 128, 22 / 64, 70 / 128, 42 / 64)
    drawn = segmenter.outline(shown, box=box)
    agreement = float(((own > 0.5) & (drawn > 0.5)).sum() / ((own > 0.5) | (drawn > 0.5)).sum())
    found = find_thing(colour_finder(), segmenter, shown, None, "target").weights
    assert torch.equal(found, drawn if agreement >= AGREES else own)


def test_confidence_is_the_expected_overlap() -> None:
    assert expected_iou(torch.zeros(4, 4)) == 0.0
    assert expected_iou(torch.ones(4, 4)) == 1.0
    assert expected_iou(torch.tensor([[0.8, 0.8, 0.2, 0.0]])) == pytest.approx(1.6 / 2.2)
