import pytest
import torch

from core.errors import TransferCanceled, UnknownLayerError
from core.models.models import Models
from core.models.unet import patched, recorded, select_layers
from core.params.transfer import TransferParams
from core.pipeline import transfer


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
    before = processors(models)

    def stop(step: int, steps: int, preview: object) -> None:
        if step == fails_at:
            raise error

    with pytest.raises(type(error)):
        transfer(models, *pictures, TransferParams(num_steps=4, strength=1.0), seed=0, on_step=stop)
    assert processors(models) == before


def test_after_a_failure_inside_the_network_the_processors_are_the_same_objects(
    models: Models, pictures: tuple[torch.Tensor, torch.Tensor]
) -> None:
    before = processors(models)

    def fail(module: object, arguments: object) -> None:
        raise RuntimeError("inside")

    hook = models.unet.up_blocks[1].attentions[0].transformer_blocks[0].attn2.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="inside"):
        transfer(models, *pictures, TransferParams(num_steps=2), seed=0)
    hook.remove()
    assert processors(models) == before
