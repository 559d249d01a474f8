"""Layers, hooks that leave nothing behind, FreeU, and where rows lie in a batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import TransferCanceled, UnknownLayerError
from core.models.models import Models
from core.models.unet import (
    BatchLayout,
    SeedRows,
    conditional_half,
    falling_guidance,
    freeu,
    patched,
    recorded,
    select_layers,
)
from core.params.transfer import FreeUParams, TransferParams
from core.pipeline import TransferInputs, transfer


def processors(models: Models) -> dict[str, int]:
    return {name: id(module.processor) for name, module in models.unet.named_modules() if hasattr(module, "processor")}


def call(models: Models) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    output: torch.Tensor = models.unet(
        torch.randn(1, 4, 32, 32, generator=generator),
        torch.tensor(10),
        encoder_hidden_states=torch.randn(1, 16, 32, generator=generator),
        added_cond_kwargs={"text_embeds": torch.zeros(1, 16), "time_ids": torch.zeros(1, 6)},
    ).sample
    return output


def test_a_block_means_its_self_attentions_and_a_layer_itself(models: Models) -> None:
    upper = select_layers(models.unet, ["up_blocks.0"])
    assert len(upper) == 4
    assert all(name.startswith("up_blocks.0.") and name.endswith(".attn1") for name in upper)
    one = "up_blocks.0.attentions.1.transformer_blocks.0"
    assert select_layers(models.unet, [one]) == [f"{one}.attn1"]
    assert len(select_layers(models.unet, ["up_blocks.0", "up_blocks.1", "up_blocks.0"])) == 6
    assert select_layers(models.unet, []) == []


@pytest.mark.parametrize("name", ["up_blocks.2", "up_blocks.01", "up_blocks.9", "up"])
def test_a_name_that_fits_no_layer_is_an_error_that_says_what_fits(models: Models, name: str) -> None:
    with pytest.raises(UnknownLayerError, match=r"up_blocks\.0, up_blocks\.1"):
        select_layers(models.unet, ["up_blocks.0", name])


def test_the_edit_reaches_q_k_and_v_and_leaving_undoes_it(models: Models) -> None:
    before, plain = processors(models), call(models)
    layers = select_layers(models.unet, ["up_blocks.1"])
    with patched(models.unet, layers, lambda _, features: torch.zeros_like(features)):
        assert processors(models) != before
        assert not torch.equal(call(models), plain)
    assert processors(models) == before
    assert torch.equal(call(models), plain)


def test_recording_changes_nothing(models: Models) -> None:
    plain = call(models)
    with recorded(models.unet, select_layers(models.unet, ["up_blocks.1"])) as seen:
        assert torch.equal(call(models), plain)
    assert {features.shape for features in seen.values()} == {(1, 256, 16)}


def test_a_layer_that_cannot_be_patched_leaves_the_others_as_they_were(models: Models) -> None:
    before = processors(models)
    with (
        pytest.raises(AttributeError),
        patched(models.unet, [*select_layers(models.unet, ["up_blocks.1"]), "no.such.layer"], lambda _, f: f),
    ):
        pass
    assert processors(models) == before


@pytest.mark.parametrize("fails_at", [1, 2, 3, 4])
@pytest.mark.parametrize("error", [TransferCanceled("stop"), RuntimeError("boom"), KeyboardInterrupt()])
def test_after_an_exception_in_any_step_the_processors_are_the_same_objects(
    models: Models, pictures: tuple[torch.Tensor, torch.Tensor], fails_at: int, error: BaseException
) -> None:
    before, params = processors(models), TransferParams(num_inference_steps=4, strength=1.0)

    def stop(step: int, steps: int, preview: object) -> None:
        if step == fails_at:
            raise error

    with pytest.raises(type(error)):
        transfer(models, TransferInputs(*pictures), params, seed=0, on_step=stop)
    assert processors(models) == before


def test_after_a_failure_inside_the_network_the_processors_are_the_same_objects(
    models: Models, pictures: tuple[torch.Tensor, torch.Tensor]
) -> None:
    before = processors(models)

    def fail(module: object, arguments: object) -> None:
        raise RuntimeError("inside")

    hook = models.unet.up_blocks[1].attentions[0].transformer_blocks[0].attn2.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="inside"):
        transfer(models, TransferInputs(*pictures), TransferParams(num_inference_steps=2), seed=0)
    hook.remove()
    assert processors(models) == before


def test_appearance_guidance_falls_to_its_half_but_not_below_one() -> None:
    assert [falling_guidance(3.5, done, 3) for done in range(3)] == [3.5, 2.625, 1.75]
    assert falling_guidance(1.4, 4, 5) == pytest.approx(1.0)
    assert falling_guidance(1.0, 0, 1) == 1.0


@torch.no_grad()
def test_freeu_scales_the_first_two_up_blocks_and_leaves_nothing(models: Models) -> None:
    plain = call(models)
    results = []
    for factors in (
        None,
        FreeUParams(),
        FreeUParams(b1=1.3),
        FreeUParams(b2=1.4),
        FreeUParams(s1=0.5),
        FreeUParams(s2=0.2),
    ):
        with freeu(models.unet, factors):
            results.append(call(models))
        assert torch.equal(call(models), plain), "after leaving"
    for off in results[:2]:
        assert torch.equal(off, plain), "all 1 is off"
    for changed in results[2:]:
        assert not torch.allclose(changed, plain, atol=1e-5)


LAYOUTS = st.builds(BatchLayout, seeds=st.integers(1, 4), references=st.integers(0, 3))


@settings(deadline=None, max_examples=40)
@given(layout=LAYOUTS, halves=st.integers(1, 2), shape=st.sampled_from([(5, 3), (4, 2, 3)]))
def test_a_batch_is_split_by_seed_and_joined_again(layout: BatchLayout, halves: int, shape: tuple[int, ...]) -> None:
    """Features of a layer and latents alike: every value says which half, seed and row it is of."""
    rows = layout.references + 2
    number = torch.arange(halves * layout.seeds * rows).float()
    batch = number.reshape(-1, *[1] * len(shape)).expand(-1, *shape)
    seeds = layout.split(batch)
    assert len(seeds) == layout.seeds
    for seed, one in enumerate(seeds):
        assert len(one.references) == layout.references
        for row, part in enumerate((one.output, *one.references, one.structure)):
            assert part.shape == (halves, *shape)
            for half in range(halves):
                assert torch.equal(
                    part[half].unique(), torch.tensor([(half * layout.seeds + seed) * rows + row]).float()
                )
    assert torch.equal(layout.join(seeds), batch)


@settings(deadline=None, max_examples=20)
@given(layout=LAYOUTS, halves=st.integers(1, 2))
def test_rows_are_joined_to_a_batch_and_split_again(layout: BatchLayout, halves: int) -> None:
    generator = torch.Generator().manual_seed(layout.seeds)

    def row() -> torch.Tensor:
        return torch.randn(halves, 4, 3, generator=generator)

    given_rows = [SeedRows(row(), tuple(row() for _ in range(layout.references)), row()) for _ in range(layout.seeds)]
    batch = layout.join(given_rows)
    assert len(batch) == halves * layout.seeds * (layout.references + 2)
    for before, after in zip(given_rows, layout.split(batch), strict=True):
        for one, other in zip(
            (before.output, *before.references, before.structure),
            (after.output, *after.references, after.structure),
            strict=True,
        ):
            assert torch.equal(one, other)
    assert torch.equal(conditional_half(batch, len(batch) // halves), batch[len(batch) // halves * (halves - 1) :])
