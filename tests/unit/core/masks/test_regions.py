"""Several references in one run: who gets which tokens, and that each region is what it would be alone."""

import pytest
import torch

from core.errors import EmptyMaskError, ModelMissingError, PictureMissingError, ShapeError
from core.injection import FeatureInjection, InjectedRegion, Injection
from core.masks.regions import Canvases, CanvasRegion, ChosenRegion, Masks, Named, all_of, inside, place_regions
from core.matching.correspondence import TokenMap, describe
from core.models.models import Models
from core.params.transfer import TransferParams
from core.pipeline import transfer

Pictures = tuple[torch.Tensor, torch.Tensor]
SIZE = (60, 88)
LEFT = torch.zeros(SIZE)
LEFT[10:50, 6:40] = 1.0
RIGHT = torch.zeros(SIZE)
RIGHT[10:50, 46:80] = 1.0
FAST = {"num_steps": 3, "strength": 1.0, "match_draws": 1}


def params(*regions: dict[str, object], **knobs: object) -> TransferParams:
    return TransferParams.model_validate({**FAST, "regions": regions, **knobs})


def changed_pixels(result: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    original = (target * 255).round().byte().permute(1, 2, 0)
    return (result != original).any(-1)


@pytest.mark.parametrize("strengths", [(1.0, 1.0), (0.25, 0.5)])
def test_every_region_takes_its_own_references_tokens(strengths: tuple[float, float]) -> None:
    """Token by token, against a slow reading."""
    generator = torch.Generator().manual_seed(0)
    output, first, second, structure = torch.randn(4, 1, 16, 5, generator=generator)
    masks = torch.zeros(3, 4, 4)
    masks[0, :2], masks[1, 2:, :3], masks[2, :, 1:] = 1.0, 1.0, 1.0
    everywhere = torch.ones(4, 4)
    injection = FeatureInjection(
        [
            InjectedRegion(masks[0], everywhere, strength=strengths[0]),
            InjectedRegion(masks[1], masks[2], strength=strengths[1]),
        ]
    )
    injection.mode = Injection.MATCHED
    edited = injection("layer", torch.stack([output, first, second, structure], dim=1).flatten(0, 1))
    expected = output[0].clone()
    for p in range(16):
        if not masks[:2, p // 4, p % 4].any():
            continue
        region = int(masks[1, p // 4, p % 4])
        reference = (first, second)[region][0]
        allowed = [q for q in range(16) if region == 0 or masks[2, q // 4, q % 4]]
        cosine = torch.nn.functional.cosine_similarity(output[0, p][None], reference)
        best = max(allowed, key=lambda q: float(cosine[q]))
        expected[p] = torch.lerp(output[0, p], reference[best], strengths[region])
    torch.testing.assert_close(edited[0], expected, rtol=0, atol=1e-6)
    assert torch.equal(edited[1:], torch.stack([first[0], second[0], structure[0]]))


def test_one_region_that_is_everything_is_a_plain_transfer(models: Models, pictures: Pictures) -> None:
    plain = transfer(models, *pictures, params(), seed=4)
    for region, named in (
        ({}, Named()),
        ({"reference": "other", "strength": 1.0}, Named({"other": pictures[1]})),
    ):
        same = transfer(models, pictures[0], pictures[1], params(region), named=named, seed=4)
        assert torch.equal(same.image, plain.image)
        assert torch.equal(same.matches.positions, plain.matches.positions)


@pytest.mark.parametrize("mode", ["feature", "kv", "cross_image", "soft_statistics", "block_output"])
@pytest.mark.parametrize("source", ["auto", "layer"])
def test_two_regions_change_what_they_cover_and_nothing_else(
    models: Models, pictures: Pictures, mode: str, source: str
) -> None:
    target = (pictures[0] * 255).round() / 255
    asked = params(
        {"target_mask": "left"},
        {"target_mask": "right", "reference": "other"},
        injection_mode=mode,
        match_source=source,
        guidance_scale=2.0,
    )
    named = Named({"other": pictures[1].flip(0)}, {"left": LEFT, "right": RIGHT})
    result = transfer(models, target, pictures[1], asked, named=named, seed=0)
    changed = changed_pixels(result.image, target)
    both = LEFT + RIGHT
    assert not changed[both == 0].any()
    assert changed[LEFT > 0].float().mean() > 0.9
    assert changed[RIGHT > 0].float().mean() > 0.9
    assert result.masks.target is not None
    assert torch.equal(result.masks.target, both)
    assert set(result.matches.region.unique().tolist()) == {0, 1}


def test_a_region_of_no_strength_stays_as_without_it(models64: Models, pictures: Pictures) -> None:
    """Its pixels are the target's own, rebuilt, whatever its reference."""
    plain = {"clean_latent_strength": 0.6, "reanchor_level": 0.0}
    asked = params({"target_mask": "left", "strength": 0.0}, {"target_mask": "right", "strength": 0.0}, **plain)
    named = Named({}, {"left": LEFT, "right": RIGHT})
    result = transfer(models64, *pictures, asked, named=named, seed=0)
    rebuilt = transfer(
        models64,
        *pictures,
        params(injection_layers=(), clean_latent_strength=0.0, reanchor_level=0.0),
        masks=Masks(target=LEFT + RIGHT),
        seed=0,
    )
    assert (result.image.int() - rebuilt.image.int()).abs().max() <= 1


def test_where_regions_overlap_the_later_one_lies_on_top() -> None:
    target = torch.rand(3, *SIZE)
    other = torch.rand(3, *SIZE)
    soft = torch.zeros(SIZE)
    soft[20:40, 20:60] = 0.7
    chosen = [ChosenRegion(other, LEFT, None), ChosenRegion(other, soft, None)]
    canvases = place_regions(target, chosen, SIZE)
    first, second = (region.target_mask for region in canvases.regions)
    assert torch.equal(second, (soft > 0).float())
    assert torch.equal(first, LEFT * (soft == 0))
    assert torch.equal(canvases.target.mask, ((LEFT + soft) > 0).float())
    assert canvases.target_mask is not None
    torch.testing.assert_close(canvases.target_mask, 1.0 - (1.0 - LEFT) * (1.0 - soft))
    turned = place_regions(target, chosen[::-1], SIZE)
    assert torch.equal(turned.regions[1].target_mask, LEFT)


def test_a_region_that_later_ones_cover_is_refused_by_its_number() -> None:
    target = torch.rand(3, *SIZE)
    with pytest.raises(EmptyMaskError, match="region 1"):
        place_regions(target, [ChosenRegion(target, LEFT, None), ChosenRegion(target, None, None)], SIZE)


def test_everything_is_open_where_a_region_is_everything() -> None:
    picture = torch.rand(3, *SIZE)
    assert all_of([ChosenRegion(picture, LEFT, None), ChosenRegion(picture, None, None)]) is None


@pytest.mark.parametrize("region", [{"reference": "gone"}, {"target_mask": "gone"}, {"reference_mask": "gone"}])
def test_names_that_nothing_has_are_errors(models: Models, pictures: Pictures, region: dict[str, object]) -> None:
    with pytest.raises(PictureMissingError, match="'gone'"):
        transfer(models, *pictures, params(region), seed=0)


def test_masks_of_another_size_name_the_region(models: Models, pictures: Pictures) -> None:
    named = Named({}, {"small": torch.ones(4, 4)})
    with pytest.raises(ShapeError, match="region 2"):
        transfer(models, *pictures, params({}, {"target_mask": "small"}), named=named, seed=0)


def test_a_regions_words_need_their_model(models: Models, pictures: Pictures) -> None:
    asked = params({"target_selection": {"text": "wing"}}, {"reference_selection": {"box": [0, 0, 0.5, 0.5]}})
    assert asked.needed_models == {"segmenter", "text_segmenter"}
    with pytest.raises(ModelMissingError, match="PLUMAGE_TEXT_SEGMENTER"):
        transfer(models, *pictures, asked, seed=0)


def test_names_are_told_to_whoever_carries_the_pictures() -> None:
    asked = params(
        {"target_mask": "a", "reference": "leaf", "reference_mask": "b"}, {"target_mask": "a", "reference_mask": "c"}
    )
    assert asked.named_pictures == {"leaf"}
    assert asked.named_masks == {"a": "target", "b": "leaf", "c": "reference"}


def test_places_of_matches_are_those_of_each_regions_reference() -> None:
    """Left half: a reference that fills the canvas; right half: one that fills its middle half only."""
    target = torch.rand(3, 16, 16)
    masks = torch.zeros(2, 16, 16)
    masks[0, :, :8], masks[1, :, 8:] = 1.0, 1.0
    wide, tall = torch.rand(3, 16, 16), torch.rand(3, 16, 8)
    chosen = [ChosenRegion(wide, masks[0], None), ChosenRegion(tall, masks[1], None)]
    canvases = place_regions(target, chosen, (16, 16))
    maps = [TokenMap((4, 4), torch.full((16,), 5), torch.ones(16))] * 2
    found = describe(maps, canvases)
    assert found.region.tolist() == [[0, 0, 1, 1]] * 4
    assert found.positions[0, 0].tolist() == [0.375, 0.375]
    assert found.positions[0, 3].tolist() == [0.25, 0.375]  # of the middle half, which begins at 1/4


def test_pins_act_in_the_region_where_they_are_set(models: Models, pictures: Pictures) -> None:
    named = Named({"other": pictures[1].flip(0)}, {"left": LEFT, "right": RIGHT})
    pin = {"target": [0.26, 0.5], "reference": [0.9, 0.1]}  # in the left half
    regions: list[dict[str, object]] = [{"target_mask": "left"}, {"target_mask": "right", "reference": "other"}]
    free, pinned = (
        transfer(models, *pictures, params(*regions, **more), named=named, seed=0).matches
        for more in ({}, {"pins": [pin], "pin_radius": 2.0})
    )
    left, right = (free.inside & (free.region == number) for number in (0, 1))
    assert not torch.equal(free.positions[left], pinned.positions[left])
    assert torch.equal(free.positions[right], pinned.positions[right])
    rows, columns = free.inside.shape
    found = pinned.positions[int(0.5 * rows), int(0.26 * columns)]
    assert (found - torch.tensor([0.9, 0.1])).abs().max() < 0.1


def test_places_inside_a_mask() -> None:
    assert inside(LEFT, torch.tensor([[0.2, 0.5], [0.8, 0.5], [1.0, 1.0]])).tolist() == [True, False, False]


def test_canvases_of_one_reference_name_it_first() -> None:
    canvas = place_regions(torch.rand(3, 8, 8), [ChosenRegion(torch.rand(3, 8, 8), None, None)], (8, 8))
    assert isinstance(canvas, Canvases)
    assert isinstance(canvas.regions[0], CanvasRegion)
    assert canvas.reference is canvas.regions[0].reference
