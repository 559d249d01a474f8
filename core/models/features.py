"""What layers are given when the network looks at clean pictures, noised a little (DIFT, Tang et al., arXiv
2306.03881).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from core.errors import ModelMissingError
from core.images.geometry import token_grid
from core.models.dino import place_features
from core.models.models import Models
from core.models.noise import NoiseDraws, add_noise
from core.models.unet import NoisePredictor, recorded


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


@dataclass(frozen=True)
class Descriptors:
    """One network's features for the tokens of pictures."""

    features: Float[Tensor, "pictures tokens channels"]
    """Of the target, then of the reference, where both were read."""
    grid: tuple[int, int]
    say: float = 1.0
    """Beside others: what its cosines weigh."""

    def beside(self, reference: "Descriptors") -> "Descriptors":
        """This target beside another view of the reference."""
        return replace(self, features=torch.cat([self.features[:1], reference.features]))


def read_unet(
    models: Models,
    predict_noise: NoisePredictor,
    clean: Float[Tensor, "pictures channels height width"],
    layers: list[str],
    *,
    noise_level: float,
    draws: int,
    seed: int,
) -> list[Descriptors]:
    """Inputs of `layers` for every picture at `noise_level` (t / 1000), averaged over `draws` noise draws, all
    together with the say of one network. One call of the UNet per draw, a row for each picture."""
    read = read_layers(
        models, predict_noise, clean, layers, noise_level=noise_level, draws=draws, noise=NoiseDraws(seed, row=2)
    )
    size = (clean.shape[2], clean.shape[3])
    share = 1.0 / len(read)
    return [Descriptors(features, token_grid(size, features.shape[1]), share) for features in read.values()]


def read_vision(
    models: Models, pictures: Float[Tensor, "pictures 3 height width"], grid: tuple[int, int]
) -> Descriptors:
    """What the correspondence model says of pictures. Raises ModelMissingError where none is held."""
    model = models.correspondence
    if model is None:
        raise ModelMissingError("correspondence")
    return Descriptors(place_features(model, pictures, grid), grid, model.fusion_weight)
