"""Figures at the target's own size, set into the target; and the steps that need not be computed."""

import pytest
import torch

from core import finish
from core.masks.regions import Masks
from core.models.models import Models
from core.params.transfer import TransferParams, nested
from core.pipeline import TransferInputs, TransferResult, transfer, transfer_variants
from core.sampling import sampler

SIZE = (96, 120)
FIGURES = torch.zeros(SIZE)
FIGURES[20:70, 10:45] = 1.0
FIGURES[20:70, 75:110] = 1.0
GENERATOR = torch.Generator().manual_seed(3)
TARGET = torch.randint(0, 256, (3, *SIZE), generator=GENERATOR).float() / 255.0
REFERENCE = torch.rand(3, 80, 64, generator=GENERATOR)
FAST = {"num_inference_steps": 4, "strength": 1.0, "matching.ensemble_size": 1, "resolution": 64}


def params(values: dict[str, object] | None = None) -> TransferParams:
    return TransferParams.model_validate(nested({**FAST, **(values or {})}))


def painted(models: Models, target: torch.Tensor = TARGET, values: dict[str, object] | None = None) -> TransferResult:
    return transfer(models, TransferInputs(target, REFERENCE, Masks(target=FIGURES)), params(values), seed=1)


def test_outside_the_masks_the_targets_bytes_stay_and_its_alpha_too(models: Models) -> None:
    alpha = torch.ones(1, *SIZE)
    alpha[:, :30] = 128 / 255
    target = torch.cat([TARGET, alpha])
    image = painted(models, target).image
    original = (target * 255).round().to(torch.uint8).permute(1, 2, 0)
    assert torch.equal(image[FIGURES == 0], original[FIGURES == 0])
    assert torch.equal(image[..., 3], original[..., 3])
    for columns in (slice(20, 35), slice(85, 100)):
        assert not torch.equal(image[35:60, columns], original[35:60, columns])


@pytest.mark.parametrize("values", [{}, {"output.keep_lightness": True}, {"matching.filter": "mutual"}])
def test_tiles_do_not_show(models: Models, monkeypatch: pytest.MonkeyPatch, values: dict[str, object]) -> None:
    whole = painted(models, values=values).image
    monkeypatch.setattr(finish, "TILE_PX", 500)
    assert torch.equal(painted(models, values=values).image, whole)


def test_several_figures_under_one_mask_each_have_a_map_of_their_own(models: Models) -> None:
    """Each is what it is under a mask of its own."""
    together = painted(models)
    left = FIGURES.clone()
    left[:, 60:] = 0.0
    inputs = TransferInputs(TARGET, REFERENCE, Masks(target=left))
    alone = transfer(models, inputs, params(), seed=1)
    assert torch.equal(together.image[:, :60], alone.image[:, :60])
    within = alone.matches.inside
    assert torch.equal(together.matches.positions[within], alone.matches.positions[within])
    assert together.matches.inside[:, 32:].any()
    assert not alone.matches.inside[:, 32:].any()
    assert together.matches.region.eq(0).all()


def test_figures_are_the_same_again_and_in_a_batch(models64: Models) -> None:
    inputs = TransferInputs(TARGET, REFERENCE, Masks(target=FIGURES))
    first, again = (transfer(models64, inputs, params(), seed=5) for _ in range(2))
    assert torch.equal(first.image, again.image)
    batch = transfer_variants(models64, inputs, params(), seeds=[4, 5])
    assert (batch[1].image.int() - first.image.int()).abs().max() <= 1


def test_a_map_that_is_fed_back_gives_nearly_the_same_places(models: Models) -> None:
    own = painted(models).matches
    places = [[tuple(place) for place in row] for row in own.positions.nan_to_num(0.5).tolist()]
    custom: dict[str, object] = {"matching.source": "custom", "matching.custom_map": places}
    again = painted(models, values=custom).matches
    assert torch.equal(again.inside, own.inside)
    apart = (again.positions - own.positions)[own.inside].norm(dim=-1)
    assert apart.median() < 0.02


@pytest.mark.parametrize(
    "values",
    [
        {"matching.filter": "mutual"},
        {"output.appearance_scale": 0.5},
        {"matching.source": "per_layer"},
        {"latent.adain_range": (1.0, 0.0)},
    ],
)
def test_steps_that_count_are_all_sampled(models: Models, values: dict[str, object]) -> None:
    assert steps_of(models, values) == 8  # two figures


def steps_of(models: Models, values: dict[str, object]) -> int:
    counted: list[int] = []
    inputs = TransferInputs(TARGET, REFERENCE, Masks(target=FIGURES))
    asked = {"latent.warp_range": (1.0, 0.0), "latent.warp_strength": 1.0, "latent.reanchor_level": 0.6, **values}
    transfer(models, inputs, params(asked), seed=1, on_step=lambda done, steps, preview: counted.append(done))
    return len(counted)


def test_steps_above_the_reanchoring_are_skipped_and_do_not_show(
    models64: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a mask nothing of them is left. Along a mask's outline, where weights are mixed, a little shows."""
    values: dict[str, object] = {
        "latent.warp_range": (1.0, 0.0),
        "latent.warp_strength": 1.0,
        "latent.reanchor_level": 0.6,
    }
    assert steps_of(models64, {}) < 8
    inputs = TransferInputs(TARGET, REFERENCE)
    short = transfer(models64, inputs, params(values), seed=1).image
    monkeypatch.setattr(sampler, "dead_steps", lambda plan, maps, scene: 0)
    full = transfer(models64, inputs, params(values), seed=1).image
    assert (short.int() - full.int()).abs().max() <= 1
