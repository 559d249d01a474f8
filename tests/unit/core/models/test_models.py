"""Stable Diffusion 1.5 beside SDXL: its layers, its prompts, and the paper's settings on it."""

import torch

from core.images.geometry import token_mask
from core.injection import FeatureInjection, InjectedRegion, Injection
from core.models.models import SD15, Models, encode_prompt
from core.models.unet import make_predictor, recorded, select_layers
from core.params.transfer import TransferParams
from core.pipeline import transfer
from tests.tiny import tiny_sd15_models

TARGET, REFERENCE = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def paper(**more: object) -> TransferParams:
    return TransferParams.model_validate({"preset": "paper-sd15", "resolution": 64, "num_steps": 6, **more})


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
    for params in (paper(), TransferParams(num_steps=2, strength=1.0, match_draws=1, resolution=64)):
        result = transfer(models, TARGET, REFERENCE, params, prompt="A photo of a bird", seed=0)
        assert result.image.shape == (64, 64, 3)
        assert result.matches.inside.all()


def test_its_matches_and_rearrangement_are_the_papers_to_the_token() -> None:
    """`c(p) = argmax_q cos(F_out(p), F_ref(q))` and `F'(p) = F_ref(c(p))` in every injected layer, one token after the
    other, on what the network really puts in there; the mask of the reference and of the target as the paper has
    them."""
    models = tiny_sd15_models(dtype=torch.float64)
    conditional = encode_prompt(models, "a bird", height=64, width=64)
    unconditional = encode_prompt(models, "", height=64, width=64, negative=True)
    predict = make_predictor(models.unet, conditional, unconditional, 2.5)
    rows = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    layers = select_layers(models.unet, SD15.injection_layers)
    masks = torch.zeros(2, 16, 16, dtype=torch.float64)
    masks[0, 2:12, 2:14], masks[1, 4:16, :10] = 1.0, 1.0
    injection = FeatureInjection([InjectedRegion(masks[0], masks[1])])
    injection.mode = Injection.MATCHED
    with recorded(models.unet, layers) as seen:
        predict(rows, 400)
    for name in layers:
        features = seen[name]
        side = int(features.shape[1] ** 0.5)
        edited = injection(name, features).unflatten(0, (2, 3))
        given = features.unflatten(0, (2, 3))
        inside, there = (token_mask(mask, (side, side)) for mask in masks)
        for p in range(side * side):
            if not inside[p]:
                assert torch.equal(edited[:, 0, p], given[:, 0, p])
                continue
            best, best_cosine = -1, -2.0
            for q in range(side * side):
                if there[q]:
                    a, b = given[1, 0, p], given[1, 1, q]
                    cosine = float(a @ b / (a.norm() * b.norm()))
                    if cosine > best_cosine:
                        best, best_cosine = q, cosine
            assert torch.equal(edited[:, 0, p], given[:, 1, best])
        assert torch.equal(edited[:, 1:], given[:, 1:])


def test_freeu_acts_on_its_up_blocks(models: Models) -> None:
    of_it = tiny_sd15_models()
    plain, scaled = (
        transfer(of_it, TARGET, REFERENCE, paper(**factors), seed=0).image
        for factors in ({"freeu_b1": 1.0, "freeu_b2": 1.0, "freeu_s1": 1.0, "freeu_s2": 1.0}, {})
    )
    assert not torch.equal(plain, scaled)
