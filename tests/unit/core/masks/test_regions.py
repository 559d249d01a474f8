"""From everything that is given of a picture to one mask; and several references in one run: each region is what it
would be alone."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from core.errors import EmptyMaskError, ModelMissingError, PictureMissingError, ShapeError
from core.masks.regions import (
    Masks,
    Named,
    SelectedRegion,
    inside,
    place_figure,
    select_mask,
    separate,
    split_figures,
    union,
)
from core.models.models import Models
from core.params.selection import Selection
from core.params.transfer import MaskParams, TransferParams, nested, with_values
from core.pipeline import TransferInputs, transfer
from tests.tiny import tiny_models
from tests.tiny_segmenters import tiny_segmenter, tiny_text_segmenter

Pictures = tuple[torch.Tensor, torch.Tensor]
PICTURE = torch.rand(3, 40, 56, generator=torch.Generator().manual_seed(2))
BOX = Selection(box=(0.2, 0.2, 0.8, 0.8))
SIZE = (60, 88)
LEFT = torch.zeros(SIZE)
LEFT[10:50, 6:40] = 1.0
RIGHT = torch.zeros(SIZE)
RIGHT[10:50, 46:80] = 1.0
FAST = {"num_inference_steps": 3, "strength": 1.0, "matching.ensemble_size": 1}
HARD = TransferParams.model_validate(nested({**FAST, "output.feather_px": 0.0}))


def params(*regions: dict[str, object], **values: object) -> TransferParams:
    """`values` by names with two underscores for the dot."""
    dotted = {name.replace("__", "."): value for name, value in values.items()}
    return TransferParams.model_validate(nested({**FAST, "masks.regions": regions, **dotted}))


def changed_pixels(result: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    original = (target * 255).round().byte().permute(1, 2, 0)
    return (result != original).any(-1)


@pytest.fixture(scope="module")
def segmenting() -> Models:
    return replace(tiny_models(), segmenter=tiny_segmenter(), text_segmenter=tiny_text_segmenter())


def half() -> torch.Tensor:
    mask = torch.zeros(40, 56)
    mask[:, :28] = 1.0
    return mask


def test_nothing_given_is_no_mask_and_no_mask_is_needed(segmenting: Models) -> None:
    assert select_mask(segmenting, PICTURE, None, Selection(), mode="given", role="target") is None
    assert select_mask(segmenting, PICTURE, None, Selection(invert=True), mode="given", role="target") is None
    assert select_mask(segmenting, PICTURE, half(), BOX, mode="none", role="target") is None


def test_an_uploaded_mask_is_taken_as_it_is_or_inverted(segmenting: Models) -> None:
    grey = half() * 0.25
    assert select_mask(segmenting, PICTURE, grey, Selection(), mode="given", role="target") is grey
    inverted = select_mask(segmenting, PICTURE, grey, Selection(invert=True), mode="given", role="target")
    assert inverted is not None
    assert torch.equal(inverted, 1.0 - grey)


def test_what_is_selected_in_several_ways_is_selected_in_all(segmenting: Models) -> None:
    assert segmenting.segmenter is not None
    found = segmenting.segmenter.outline(PICTURE, box=BOX.box)
    mask = select_mask(segmenting, PICTURE, half(), BOX, mode="given", role="target")
    assert mask is not None
    assert torch.equal(mask, half() * found)


def test_a_mask_that_selects_nothing_is_refused_and_whose_it_is_named(segmenting: Models) -> None:
    with pytest.raises(EmptyMaskError, match="reference"):
        select_mask(segmenting, PICTURE, torch.ones(40, 56), Selection(invert=True), mode="given", role="reference")
    with pytest.raises(ShapeError, match="56 x 40"):
        select_mask(segmenting, PICTURE, torch.ones(4, 4), BOX, mode="given", role="target")


@pytest.mark.parametrize(
    ("selection", "setting"),
    [
        (BOX, "PLUMAGE_SEGMENTER"),
        (Selection(points=((0.5, 0.5),)), "PLUMAGE_SEGMENTER"),
        (Selection(text="bird"), "PLUMAGE_TEXT_SEGMENTER"),
    ],
)
def test_a_missing_model_is_named_by_its_setting(selection: Selection, setting: str) -> None:
    asked = TransferParams(masks=MaskParams(reference_selection=selection))
    with pytest.raises(ModelMissingError, match=f"set {setting} "):
        transfer(tiny_models(), TransferInputs(PICTURE, PICTURE), asked, seed=0)
    assert len(asked.needed_models) == 1
    assert with_values(asked, {"masks.mode": "none"}).needed_models == frozenset()


@pytest.mark.parametrize(
    "given",
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
def test_what_cannot_be_meant_is_refused_with_the_field_named(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(given))):
        TransferParams.model_validate({"masks": {"target_selection": given}})


def test_the_masks_used_are_part_of_the_result(segmenting: Models) -> None:
    asked = with_values(HARD, {"masks.target_selection": {"points": ((0.5, 0.5),)}})
    inputs = TransferInputs(PICTURE, PICTURE.flip(-1), Masks(reference=half()))
    result = transfer(segmenting, inputs, asked, seed=1)
    assert result.masks.target is not None
    assert result.masks.reference is not None
    outside = result.masks.target == 0.0
    original = (PICTURE * 255).round().to(torch.uint8).permute(1, 2, 0)
    assert torch.equal(result.image[outside], original[outside])
    assert torch.equal(result.masks.reference, half())


def test_grey_lets_through_that_share_of_the_repainted_picture(segmenting: Models) -> None:
    """Exactly: a mask of one half everywhere gives the mean of the target and of the result without a mask."""
    reference = PICTURE.flip(-1) * 0.5
    full, grey = (
        transfer(segmenting, TransferInputs(PICTURE, reference, masks), HARD, seed=1).image.float()
        for masks in (Masks(), Masks(torch.full((40, 56), 0.5)))
    )
    expected = (full + PICTURE.permute(1, 2, 0) * 255.0) / 2.0
    assert (grey - expected).abs().max() <= 1.0
    assert (full - grey).abs().max() > 5.0


def test_one_region_that_is_everything_is_a_plain_transfer(models: Models, pictures: Pictures) -> None:
    plain = transfer(models, TransferInputs(*pictures), params(), seed=4)
    for region, named in (
        ({}, Named()),
        ({"reference": "other", "scale": 1.0}, Named({"other": pictures[1]})),
    ):
        same = transfer(models, TransferInputs(*pictures, named=named), params(region), seed=4)
        assert torch.equal(same.image, plain.image)
        assert torch.equal(same.matches.positions, plain.matches.positions)


@pytest.mark.parametrize("mode", ["feature", "kv", "cross_image", "ctrl_x", "block_output"])
@pytest.mark.parametrize("source", ["auto", "per_layer"])
def test_two_regions_change_what_they_cover_and_nothing_else(
    models: Models, pictures: Pictures, mode: str, source: str
) -> None:
    target = (pictures[0] * 255).round() / 255
    asked = params(
        {"target_mask": "left"},
        {"target_mask": "right", "reference": "other"},
        injection__mode=mode,
        matching__source=source,
        guidance_scale=2.0,
    )
    named = Named({"other": pictures[1].flip(0)}, {"left": LEFT, "right": RIGHT})
    result = transfer(models, TransferInputs(target, pictures[1], named=named), asked, seed=0)
    changed = changed_pixels(result.image, target)
    both = LEFT + RIGHT
    assert not changed[both == 0].any()
    assert changed[LEFT > 0].float().mean() > 0.9
    assert changed[RIGHT > 0].float().mean() > 0.9
    assert result.masks.target is not None
    assert torch.equal(result.masks.target, both)
    assert set(result.matches.region.unique().tolist()) == {0, 1}


def test_a_region_of_scale_0_stays_as_without_it(models64: Models, pictures: Pictures) -> None:
    """Its pixels are the target's own, rebuilt, whatever its reference."""
    asked = params(
        {"target_mask": "left", "scale": 0.0},
        {"target_mask": "right", "scale": 0.0},
        latent__warp_strength=0.6,
        latent__reanchor_level=0.0,
    )
    named = Named({}, {"left": LEFT, "right": RIGHT})
    result = transfer(models64, TransferInputs(*pictures, named=named), asked, seed=0)
    rebuilt = transfer(
        models64,
        TransferInputs(*pictures, Masks(target=LEFT + RIGHT)),
        params(injection__layers=(), latent__warp_strength=0.0, latent__reanchor_level=0.0),
        seed=0,
    )
    assert (result.image.int() - rebuilt.image.int()).abs().max() <= 1


def test_regions_that_overlap_are_repainted_together() -> None:
    soft = torch.zeros(SIZE)
    soft[20:40, 20:60] = 0.7
    other = torch.rand(3, *SIZE)
    everything = union([SelectedRegion(other, LEFT, None), SelectedRegion(other, soft, None)])
    assert everything is not None
    torch.testing.assert_close(everything, 1.0 - (1.0 - LEFT) * (1.0 - soft))


def test_things_that_lie_apart_are_figures_whose_masks_add_up_to_the_mask() -> None:
    grey = LEFT * 0.6 + RIGHT
    parts = separate(grey)
    assert len(parts) == 2
    assert torch.equal(parts[0] + parts[1], grey)
    assert torch.equal(parts[0], RIGHT)  # the larger first
    figures = split_figures(torch.rand(3, *SIZE), [SelectedRegion(torch.rand(3, *SIZE), grey, None, number=3)])
    assert [figure.number for figure in figures] == [3, 3]


def test_small_bits_belong_to_the_figure_nearest_to_them() -> None:
    mask = torch.zeros(128, 256)
    mask[30:100, 20:80] = mask[30:100, 170:230] = 1.0
    mask[10:14, 96:100] = mask[110:114, 150:154] = 1.0
    parts = separate(mask)
    assert len(parts) == 2
    assert torch.equal(parts[0] + parts[1], mask)
    left = next(part for part in parts if float(part[60, 50]) > 0.0)
    assert left[10:14, 96:100].eq(1).all()
    assert left[:, 128:].eq(0).all()


def test_things_that_touch_are_one_figure() -> None:
    mask = torch.zeros(128, 256)
    mask[20:60, 20:100], mask[59:100, 99:200] = 1.0, 1.0
    (part,) = separate(mask)
    assert part is mask


def test_a_region_that_later_ones_cover_is_refused_by_its_number() -> None:
    target = torch.rand(3, *SIZE)
    with pytest.raises(EmptyMaskError, match="region 1"):
        split_figures(target, [SelectedRegion(target, LEFT, None), SelectedRegion(target, None, None, number=1)])


def test_everything_is_open_where_a_region_is_everything() -> None:
    picture = torch.rand(3, *SIZE)
    assert union([SelectedRegion(picture, LEFT, None), SelectedRegion(picture, None, None)]) is None


@pytest.mark.parametrize("region", [{"reference": "gone"}, {"target_mask": "gone"}, {"reference_mask": "gone"}])
def test_names_that_nothing_has_are_errors(models: Models, pictures: Pictures, region: dict[str, object]) -> None:
    with pytest.raises(PictureMissingError, match="'gone'"):
        transfer(models, TransferInputs(*pictures), params(region), seed=0)


def test_masks_of_another_size_name_the_region(models: Models, pictures: Pictures) -> None:
    named = Named({}, {"small": torch.ones(4, 4)})
    with pytest.raises(ShapeError, match="region 2"):
        transfer(models, TransferInputs(*pictures, named=named), params({}, {"target_mask": "small"}), seed=0)


def test_a_regions_words_need_their_model(models: Models, pictures: Pictures) -> None:
    asked = params({"target_selection": {"text": "wing"}}, {"reference_selection": {"box": [0, 0, 0.5, 0.5]}})
    assert asked.needed_models == {"segmenter", "text_segmenter"}
    with pytest.raises(ModelMissingError, match="PLUMAGE_TEXT_SEGMENTER"):
        transfer(models, TransferInputs(*pictures), asked, seed=0)


def test_names_are_known_to_whoever_carries_the_pictures() -> None:
    asked = params(
        {"target_mask": "a", "reference": "leaf", "reference_mask": "b"}, {"target_mask": "a", "reference_mask": "c"}
    )
    assert asked.named_pictures == {"leaf"}
    assert asked.named_masks == {"a": "target", "b": "leaf", "c": "reference"}


def test_landmarks_act_in_the_region_where_they_are_set(models: Models, pictures: Pictures) -> None:
    named = Named({"other": pictures[1].flip(0)}, {"left": LEFT, "right": RIGHT})
    landmark = {"target": [0.26, 0.5], "reference": [0.9, 0.1]}  # in the left half
    regions: list[dict[str, object]] = [{"target_mask": "left"}, {"target_mask": "right", "reference": "other"}]
    free, drawn = (
        transfer(models, TransferInputs(*pictures, named=named), params(*regions, **more), seed=0).matches
        for more in ({}, {"matching__landmarks": [landmark], "matching__landmark_radius": 2.0})
    )
    left, right = (free.inside & (free.region == number) for number in (0, 1))
    assert not torch.equal(free.positions[left], drawn.positions[left])
    assert torch.equal(free.positions[right], drawn.positions[right])
    rows, columns = free.inside.shape
    found = drawn.positions[int(0.5 * rows), int(0.26 * columns)]
    assert (found - torch.tensor([0.9, 0.1])).abs().max() < 0.1


def test_places_inside_a_mask() -> None:
    assert inside(LEFT, torch.tensor([[0.2, 0.5], [0.8, 0.5], [1.0, 1.0]])).tolist() == [True, False, False]


def test_all_that_a_mask_includes_at_all_is_repainted_wholly() -> None:
    half = torch.ones(8, 8)
    half[:, 4:] = 0.4
    picture = torch.rand(3, 8, 8)
    canvas, _ = place_figure(picture, SelectedRegion(picture, half, None), 8, 8, crop=True)
    assert canvas.mask.eq(1).all()
    assert canvas.box == (0.0, 0.0, 1.0, 1.0)  # nothing is kept out: the whole picture
