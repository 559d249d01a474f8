"""Stable Diffusion 1.5 beside SDXL: its layers, its prompts, and the paper's settings on it."""

import torch

from core.models.models import SD15, encode_prompt
from core.models.unet import make_predictor, recorded, select_layers
from core.params.transfer import TransferParams
from core.pipeline import TransferInputs, transfer
from tests.tiny import tiny_sd15_models

TARGET, REFERENCE = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def paper(**more: object) -> TransferParams:
    return TransferParams.model_validate({"preset": "paper-sd15", "resolution": 64, "num_inference_steps": 6, **more})


def test_its_injected_layers_are_the_papers() -> None:
    """Three of 32 x 32 and three of 64 x 64 tokens where the latent has 64 x 64; here half of that."""
    models = tiny_sd15_models()
    layers = select_layers(models.unet, SD15.injection_layers)
    assert [name.split(".attentions")[0] for name in layers] == ["up_blocks.2"] * 3 + ["up_blocks.3"] * 3
    conditional = encode_prompt(models, "a bird", height=64, width=64)
    with recorded(models.unet, layers) as seen:
        make_predictor(models.unet, conditional, None, 1.0)(torch.randn(1, 4, 32, 32), 500)
    assert [features.shape[1] for features in seen.values()] == [256] * 3 + [1024] * 3
    assert models.finest_grid((32, 32)) == (32, 32)


def test_prompts_are_the_normalised_last_states_of_the_one_encoder() -> None:
    models = tiny_sd15_models()
    found = encode_prompt(models, "a bird", height=64, width=64)
    ids = models.tokenizers[0]("a bird", padding="max_length", max_length=16, return_tensors="pt").input_ids
    expected = models.text_encoders[0](ids).last_hidden_state
    assert torch.equal(found.tokens, expected)
    assert found.pooled is None
    negative = encode_prompt(models, "", height=64, width=64, negative=True)
    assert negative.tokens.abs().max() > 0.0


def test_the_papers_settings_make_a_picture_and_defaults_do_too() -> None:
    models = tiny_sd15_models()
    inputs = TransferInputs(TARGET, REFERENCE, prompt="A photo of a bird")
    few = {"num_inference_steps": 2, "strength": 1.0, "matching": {"ensemble_size": 1}, "resolution": 64}
    for params in (paper(), TransferParams.model_validate(few)):
        result = transfer(models, inputs, params, seed=0)
        assert result.image.shape == (64, 64, 3)
        assert result.matches.inside.all()


def test_freeu_acts_on_its_up_blocks() -> None:
    of_it = tiny_sd15_models()
    plain, scaled = (
        transfer(of_it, TransferInputs(TARGET, REFERENCE), paper(**factors), seed=0).image
        for factors in ({"freeu": {"b1": 1.0, "b2": 1.0, "s1": 1.0, "s2": 1.0}}, {})
    )
    assert not torch.equal(plain, scaled)
