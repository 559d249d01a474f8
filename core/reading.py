"""What layers are given when the network looks at clean pictures, noised a little (DIFT, Tang et al., arXiv
2306.03881)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from core.guidance import NoisePredictor
from core.models import Models
from core.patch import recorded
from core.schedule import NoiseDraws, add_noise


@torch.no_grad()
def read_layers(
    models: Models,
    predict_noise: NoisePredictor,
    clean: Float[Tensor, "pictures channels height width"],
    layers: Sequence[str],
    *,
    noise_level: float,
    draws: int,
    noise: NoiseDraws,
) -> dict[str, Float[Tensor, "pictures _tokens _channels"]]:
    """Inputs of `layers`, by name, at `noise_level` (t / 1000), averaged over `draws` noise draws. One call of the UNet
    per draw."""
    total = len(models.alphas_cumprod)
    timestep = min(round(noise_level * total), total - 1)
    alpha_bar = float(models.alphas_cumprod[timestep])
    sums: dict[str, Tensor] = {}
    with recorded(models.unet, layers) as seen:
        for _ in range(draws):
            predict_noise(add_noise(clean, noise.like(clean), alpha_bar), timestep)
            for name, features in seen.items():
                # The last rows are the conditional half.
                sums[name] = sums.get(name, torch.zeros(())) + features[-len(clean) :].to(clean.dtype) / draws
    return sums
