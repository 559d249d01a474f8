"""Between pictures and latents: the VAE, and a cheap stand-in for its decoder."""

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from jaxtyping import Float, UInt8
from torch import Tensor

from core.errors import NonFiniteError

Picture = Float[Tensor, "3 height width"]
"""RGB, 0 to 1."""
Latent = Float[Tensor, "1 channels rows columns"]


@torch.no_grad()
def encode_picture(vae: AutoencoderKL, picture: Picture, dtype: torch.dtype) -> Latent:
    """The mode of the VAE's posterior, scaled as the UNet was trained, in `dtype`.

    Runs in the VAE's own precision: `checkpoints` loads it in float32 where it overflows in float16.
    """
    signed = (picture[None] * 2.0 - 1.0).to(device=vae.device, dtype=vae.dtype)
    latent: Tensor = vae.encode(signed).latent_dist.mode()
    return latent.to(dtype) * float(vae.config.scaling_factor)


@torch.no_grad()
def decode_latent(vae: AutoencoderKL, latent: Latent) -> Picture:
    """RGB in float32, clamped to 0..1 after the check that it is finite.

    Raises NonFiniteError when the latent or the decoded picture holds NaN or infinity (SDXL's VAE overflows in
    float16): a black picture is never returned.
    """
    _require_finite(latent, "the sampled latent")
    scaled = (latent / float(vae.config.scaling_factor)).to(device=vae.device, dtype=vae.dtype)
    decoded: Tensor = vae.decode(scaled).sample
    _require_finite(decoded, f"the picture decoded in {str(vae.dtype).removeprefix('torch.')}")
    return (decoded[0].to(torch.float32) / 2.0 + 0.5).clamp(0.0, 1.0)


def _require_finite(tensor: Tensor, what: str) -> None:
    if not bool(torch.isfinite(tensor).all()):
        raise NonFiniteError(f"{what} is not finite")


def fit_latent_to_rgb(latents: list[Latent], pictures: list[Picture]) -> Float[Tensor, "channels_and_one 3"]:
    """Least-squares linear map from latent channels, and a constant, to RGB.

    Fitted on the very pictures of the job, so it fits any VAE without tables of constants.
    """
    columns, colours = [], []
    for latent, picture in zip(latents, pictures, strict=True):
        small = F.interpolate(picture[None], size=latent.shape[-2:], mode="area")
        columns.append(latent[0].flatten(1).T.double().cpu())
        colours.append(small[0].flatten(1).T.double().cpu())
    stacked = F.pad(torch.cat(columns), (0, 1), value=1.0)
    ridge = 1e-3 * len(stacked) * torch.eye(stacked.shape[1], dtype=torch.float64)
    solution: Tensor = torch.linalg.solve(stacked.T @ stacked + ridge, stacked.T @ torch.cat(colours))
    return solution.float()


def preview_picture(
    latent: Latent, latent_to_rgb: Float[Tensor, "channels_and_one 3"]
) -> UInt8[Tensor, "rows columns 3"]:
    """What a latent shows, at the latent's size, without the VAE. Costs one small matrix product and a copy."""
    flat = F.pad(latent[0].float().cpu().permute(1, 2, 0), (0, 1), value=1.0)
    return ((flat @ latent_to_rgb).clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
