import pytest
import torch
from diffusers import AutoencoderKL

from checkpoints.settings import MINI
from core.errors import NonFiniteError
from core.models.models import Models
from core.models.vae import (
    decode_latent,
    encode_closely,
    encode_picture,
    fit_latent_to_rgb,
    preview_picture,
    small_footprint,
)
from lab.scenes import Domain, render, sample_scene
from tests.tiny import tiny_models


def test_a_latent_has_the_checkpoints_scale_and_the_trajectorys_precision(models: Models) -> None:
    picture = torch.rand(3, 64, 96)
    latent = encode_picture(models.vae, picture, torch.float64)
    mode = models.vae.encode(picture[None] * 2 - 1).latent_dist.mode()
    assert latent.shape == (1, 4, 32, 48)
    torch.testing.assert_close(latent, mode.double() * 0.5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_black_picture_is_never_made_of_a_broken_latent(models: Models, bad: float) -> None:
    latent = torch.zeros(1, 4, 32, 32)
    latent[0, 2, 5, 5] = bad
    with pytest.raises(NonFiniteError, match="latent"):
        decode_latent(models.vae, latent)


def test_an_overflow_inside_the_decoder_is_found_before_clamping(models: Models) -> None:
    hook = models.vae.decoder.register_forward_hook(lambda module, arguments, output: output * torch.inf)
    try:
        with pytest.raises(NonFiniteError, match="decoded picture"):
            decode_latent(models.vae, torch.ones(1, 4, 32, 32))
    finally:
        hook.remove()


def test_what_overflows_in_half_precision_is_decoded_in_float32() -> None:
    vae = tiny_models(dtype=torch.float16).vae
    vae.decoder.conv_in.weight.mul_(100.0)
    latent = torch.full((1, 4, 32, 32), 2e4)
    assert not torch.isfinite(vae.decode(latent.half() / 0.5).sample).all()
    picture = decode_latent(vae, latent)
    assert torch.isfinite(picture).all()
    assert vae.dtype == torch.float16
    torch.testing.assert_close(picture, decode_latent(vae.to(torch.float32), latent))


def test_what_overflows_in_half_precision_is_encoded_in_float32() -> None:
    vae = tiny_models(dtype=torch.float16).vae
    vae.encoder.conv_in.weight.mul_(2e5)
    picture = torch.rand(3, 64, 64)
    assert not torch.isfinite(vae.encode(picture[None].half() * 2 - 1).latent_dist.mode()).all()
    latent = encode_picture(vae, picture, torch.float32)
    assert torch.isfinite(latent).all()
    assert vae.dtype == torch.float16


def test_a_network_that_overflows_everywhere_is_an_error(models: Models) -> None:
    with pytest.raises(NonFiniteError, match="encoded picture"):
        encode_picture(models.vae, torch.full((3, 64, 64), torch.inf), torch.float32)


def test_a_small_footprint_gives_the_same_size_in_tiles_and_is_taken_back(models: Models) -> None:
    latent = torch.randn(1, 4, 32, 48)
    plain, sides = decode_latent(models.vae, latent), []
    hook = models.vae.decoder.register_forward_hook(lambda _, arguments, output: sides.append(output.shape[-1]))
    with small_footprint(models):
        tiled = decode_latent(models.vae, latent)
        assert encode_picture(models.vae, plain, torch.float32).shape == latent.shape
    hook.remove()
    assert tiled.shape == plain.shape
    assert len(sides) > 1
    assert max(sides) <= 32
    with pytest.raises(KeyError), small_footprint(models):
        raise KeyError
    assert torch.equal(decode_latent(models.vae, latent), plain)


def test_the_preview_finds_a_linear_decoder(models: Models) -> None:
    generator = torch.Generator().manual_seed(0)
    latents = [torch.randn(1, 4, 16, 16, generator=generator) for _ in range(2)]
    mixing = torch.rand(3, 4, generator=generator) * 0.1
    pictures = [torch.einsum("oc,chw->ohw", mixing, latent[0]) + 0.5 for latent in latents]
    large = [picture.repeat_interleave(2, 1).repeat_interleave(2, 2) for picture in pictures]
    preview = preview_picture(latents[0], fit_latent_to_rgb(latents, large))
    expected = pictures[0].permute(1, 2, 0).clamp(0, 1) * 255
    assert preview.dtype == torch.uint8
    assert (preview.float() - expected).abs().max() <= 2.0


def test_a_picture_encoded_closely_decodes_closer() -> None:
    vae = AutoencoderKL.from_pretrained(MINI, subfolder="vae", dtype=torch.float32)
    picture = torch.from_numpy(render(sample_scene(Domain.TUNING, 1), 128).image.copy()).permute(2, 0, 1) / 255.0
    once, closely = (
        decode_latent(vae, encode(vae, picture, torch.float32)) for encode in (encode_picture, encode_closely)
    )
    lost, left = (float((decoded - picture).square().mean()) for decoded in (once, closely))
    assert left < 0.85 * lost
