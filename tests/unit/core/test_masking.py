"""From everything that is said of a picture to one mask."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from core.errors import EmptyMaskError, ModelMissingError, ShapeError
from core.masks.regions import Masks, choose_mask
from core.models.models import Models
from core.params.selection import Selection
from core.params.transfer import TransferParams
from core.pipeline import transfer
from tests.tiny import tiny_models
from tests.tiny_segmenters import tiny_segmenter, tiny_text_segmenter

PICTURE = torch.rand(3, 40, 56, generator=torch.Generator().manual_seed(2))
BOX = Selection(box=(0.2, 0.2, 0.8, 0.8))
FEW = TransferParams(num_steps=3, strength=1.0, match_draws=1, feather_px=0.0)


@pytest.fixture(scope="module")
def models() -> Models:
    return replace(tiny_models(), segmenter=tiny_segmenter(), text_segmenter=tiny_text_segmenter())


def half() -> torch.Tensor:
    mask = torch.zeros(40, 56)
    mask[:, :28] = 1.0
    return mask


def test_nothing_said_is_no_mask_and_no_mask_is_needed(models: Models) -> None:
    assert choose_mask(models, PICTURE, None, Selection(), mode="given", role="target") is None
    assert choose_mask(models, PICTURE, None, Selection(invert=True), mode="given", role="target") is None
    assert choose_mask(models, PICTURE, half(), BOX, mode="none", role="target") is None


def test_an_uploaded_mask_is_taken_as_it_is_or_inverted(models: Models) -> None:
    grey = half() * 0.25
    assert choose_mask(models, PICTURE, grey, Selection(), mode="given", role="target") is grey
    inverted = choose_mask(models, PICTURE, grey, Selection(invert=True), mode="given", role="target")
    assert inverted is not None
    assert torch.equal(inverted, 1.0 - grey)


def test_what_is_said_in_several_ways_is_meant_in_all(models: Models) -> None:
    assert models.segmenter is not None
    found = models.segmenter.outline(PICTURE, box=BOX.box)
    mask = choose_mask(models, PICTURE, half(), BOX, mode="given", role="target")
    assert mask is not None
    assert torch.equal(mask, half() * found)


def test_a_mask_that_selects_nothing_is_refused_and_says_whose(models: Models) -> None:
    with pytest.raises(EmptyMaskError, match="reference"):
        choose_mask(models, PICTURE, torch.ones(40, 56), Selection(invert=True), mode="given", role="reference")
    with pytest.raises(ShapeError, match="56 x 40"):
        choose_mask(models, PICTURE, torch.ones(4, 4), BOX, mode="given", role="target")


@pytest.mark.parametrize(
    ("selection", "setting"),
    [
        (BOX, "PLUMAGE_SEGMENTER"),
        (Selection(points=((0.5, 0.5),)), "PLUMAGE_SEGMENTER"),
        (Selection(text="bird"), "PLUMAGE_TEXT_SEGMENTER"),
    ],
)
def test_a_missing_model_is_named_by_its_setting(selection: Selection, setting: str) -> None:
    params = TransferParams(reference_selection=selection)
    with pytest.raises(ModelMissingError, match=f"set {setting} "):
        transfer(tiny_models(), PICTURE, PICTURE, params, seed=0)
    assert len(params.needed_models) == 1
    assert params.model_copy(update={"mask_mode": "none"}).needed_models == frozenset()


@pytest.mark.parametrize(
    "said",
    [
        {"box": (0.5, 0.1, 0.5, 0.9)},
        {"box": (0.1, 0.9, 0.5, 0.2)},
        {"box": (0.0, 0.0, 1.0, 1.5)},
        {"points": ((0.5, -0.1),)},
        {"points_off": ((0.5, 0.5),)},
        {"text": "  "},
        {"texts": "bird"},
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_field_named(said: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(said))):
        TransferParams.model_validate({"target_selection": said})


def test_the_masks_used_are_part_of_the_result(models: Models) -> None:
    params = FEW.model_copy(update={"target_selection": Selection(points=((0.5, 0.5),))})
    result = transfer(models, PICTURE, PICTURE.flip(-1), params, masks=Masks(reference=half()), seed=1)
    assert result.masks.target is not None
    assert result.masks.reference is not None
    outside = result.masks.target == 0.0
    original = (PICTURE * 255).round().to(torch.uint8).permute(1, 2, 0)
    assert torch.equal(result.image[outside], original[outside])
    assert torch.equal(result.masks.reference, half())


def test_grey_lets_through_that_share_of_the_repainted_picture(models: Models) -> None:
    """Exactly: a mask of one half everywhere gives the mean of the target and of the result without a mask."""
    reference = PICTURE.flip(-1) * 0.5
    full = transfer(models, PICTURE, reference, FEW, seed=1).image.float()
    grey = transfer(models, PICTURE, reference, FEW, masks=Masks(torch.full((40, 56), 0.5)), seed=1).image.float()
    expected = (full + PICTURE.permute(1, 2, 0) * 255.0) / 2.0
    assert (grey - expected).abs().max() <= 1.0
    assert (full - grey).abs().max() > 5.0
