"""Between pictures and latents: the VAE, and a cheap stand-in for its decoder.

The same transfer in less memory, for a device that has run out of it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from jaxtyping import Float, UInt8
from torch import Tensor

from core.errors import NonFiniteError
from core.types import Latent, Picture


@torch.no_grad()
def encode_picture(vae: AutoencoderKL, picture: Picture, dtype: torch.dtype) -> Latent:
    """The mode of the VAE's posterior, scaled as the UNet was trained, in `dtype`.

    Runs in the VAE's own precision, and once more in float32 where that overflows. Raises NonFiniteError.
    """
    signed = (picture[None] * 2.0 - 1.0).to(vae.device)
    latent = _finite(vae, lambda: vae.encode(signed.to(vae.dtype)).latent_dist.mode(), "the encoded picture")
    return latent.to(dtype) * float(vae.config.scaling_factor)


def encode_closely(vae: AutoencoderKL, picture: Picture, dtype: torch.dtype) -> Latent:
    """A latent that decodes closer to the picture than that of `encode_picture`: what is lost on the way there and back
    is added before the picture goes there again (one fixed-point iteration). Two encodings and a decoding. Raises
    NonFiniteError."""
    lost = picture - decode_latent(vae, encode_picture(vae, picture, dtype)).to(picture)
    return encode_picture(vae, picture + lost, dtype)


@torch.no_grad()
def decode_latent(vae: AutoencoderKL, latent: Latent) -> Picture:
    """RGB in float32, clamped to 0..1 after the check that it is finite.

    Where the VAE overflows in its own precision (SDXL's does in float16), it decodes once more in float32. Raises
    NonFiniteError when the latent, or the picture even then, holds NaN or infinity: a black picture is never returned.
    """
    if not _is_finite(latent):
        raise NonFiniteError("the sampled latent is not finite")
    scaled = (latent / float(vae.config.scaling_factor)).to(vae.device)
    decoded = _finite(vae, lambda: vae.decode(scaled.to(vae.dtype)).sample, "the decoded picture")
    return (decoded[0].to(torch.float32) / 2.0 + 0.5).clamp(0.0, 1.0)


def _finite(vae: AutoencoderKL, run: Callable[[], Tensor], what: str) -> Tensor:
    """What `run` gives in the VAE's precision, or else in float32; the VAE is left as it was."""
    tensor, precision = run(), vae.dtype
    if not _is_finite(tensor) and precision != torch.float32:
        try:
            vae.to(torch.float32)  # exact: every smaller number is one of these
            tensor = run()
        finally:
            vae.to(precision)
    if not _is_finite(tensor):
        raise NonFiniteError(f"{what} is not finite")
    return tensor


def _is_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())


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


if TYPE_CHECKING:
    from core.models.models import Models
TILES_PER_SIDE = 2


@contextmanager
def small_footprint(models: "Models") -> Iterator[None]:
    """Inside, the VAE works tile by tile, half a native side each, overlapping by a quarter.

    Its largest activations, the peak of a transfer, shrink to about a quarter; colours may differ slightly, since its
    normalisation sees less of the picture. The UNet works as always: rows look at each other.
    """
    vae = models.vae
    changed = {
        "use_tiling": True,
        "use_slicing": True,
        "tile_sample_min_size": vae.tile_sample_min_size // TILES_PER_SIDE,
        "tile_latent_min_size": vae.tile_latent_min_size // TILES_PER_SIDE,
    }
    before = {name: getattr(vae, name) for name in changed}
    try:
        for name, value in changed.items():
            setattr(vae, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(vae, name, value)
