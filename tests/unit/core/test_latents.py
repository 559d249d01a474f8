import pytest
import torch

from core.errors import NonFiniteError
from core.latents import decode_latent, encode_picture, fit_latent_to_rgb, preview_picture
from core.models import Models


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
        with pytest.raises(NonFiniteError, match="decoded in float32"):
            decode_latent(models.vae, torch.ones(1, 4, 32, 32))
    finally:
        hook.remove()


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
