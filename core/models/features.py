"""Features of pictures by the frozen networks: the UNet's, and a separate vision model's.

The UNet (DIFT, Tang et al., arXiv 2306.03881): noise a clean picture a little, run the UNet, keep features, average
over noise draws. We keep the inputs of self-attention layers, where SDXL's semantics are best, instead of block
outputs. A vision model (DINOv2, DINOv3, or any transformer of their layout) matches parts better than a diffusion
network alone, and the two together better still (Zhang et al., "A tale of two features", arXiv 2305.15347).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from core.errors import ModelMissingError
from core.images.geometry import resize, token_grid
from core.models.models import Models, VisionModel
from core.models.noise import NoiseDraws, add_noise
from core.models.unet import NoisePredictor, conditional_half, recorded


@dataclass(frozen=True)
class Descriptors:
    """One network's features for the tokens of pictures."""

    features: Float[Tensor, "pictures tokens channels"]
    """Of the target, then of the reference, where both were read."""
    grid: tuple[int, int]
    weight: float = 1.0
    """Weight of its cosines beside those of other networks."""

    def with_reference(self, reference: "Descriptors") -> "Descriptors":
        """The target's features beside those of another view of the reference."""
        return replace(self, features=torch.cat([self.features[:1], reference.features]))


@torch.no_grad()
def read_layers(
    models: Models,
    predict_noise: NoisePredictor,
    clean: Float[Tensor, "pictures latent_channels latent_height latent_width"],
    layers: Sequence[str],
    *,
    noise_level: float,
    draws: int,
    noise: NoiseDraws,
) -> dict[str, Float[Tensor, "pictures _tokens _channels"]]:
    """Inputs of self-attention `layers`, by full name, for clean latents noised to `noise_level` (t / 1000), averaged
    over `draws` noise draws (DIFT, section 4). One call of the UNet per draw, a row for each picture."""
    total = len(models.alphas_cumprod)
    timestep = min(round(noise_level * total), total - 1)
    alpha_bar = float(models.alphas_cumprod[timestep])
    sums: dict[str, Tensor] = {}
    with recorded(models.unet, layers) as seen:
        for _ in range(draws):
            predict_noise(add_noise(clean, noise.like(clean), alpha_bar), timestep)
            for name, features in seen.items():
                draw = conditional_half(features, len(clean)).to(clean.dtype) / draws
                sums[name] = sums.get(name, torch.zeros(())) + draw
    return sums


def describe_by_unet(
    models: Models,
    predict_noise: NoisePredictor,
    clean: Float[Tensor, "pictures latent_channels latent_height latent_width"],
    layers: Sequence[str],
    *,
    noise_level: float,
    draws: int,
    seed: int,
) -> list[Descriptors]:
    """`read_layers` as descriptors, one for each layer, which together weigh as one network."""
    noise = NoiseDraws(seed, row=2)
    read = read_layers(models, predict_noise, clean, layers, noise_level=noise_level, draws=draws, noise=noise)
    size = (clean.shape[2], clean.shape[3])
    share = 1.0 / len(read)
    return [Descriptors(features, token_grid(size, features.shape[1]), share) for features in read.values()]


def describe_by_vision_model(
    models: Models, pictures: Float[Tensor, "pictures 3 height width"], grid: tuple[int, int]
) -> Descriptors:
    """Descriptors by the correspondence model on `grid`; pictures are RGB, 0 to 1. Raises ModelMissingError."""
    model = models.correspondence
    if model is None:
        raise ModelMissingError("correspondence")
    return Descriptors(place_features(model, pictures, grid), grid, model.fusion_weight)


@torch.no_grad()
def place_features(
    vision: VisionModel, pictures: Float[Tensor, "pictures 3 height width"], grid: tuple[int, int]
) -> Float[Tensor, "pictures tokens channels"]:
    """One feature for every token of `grid` (rows, columns), in reading order; pictures are RGB, 0 to 1.

    Where the model's own patches at its best size are coarser than the grid, the pictures are read several times, moved
    by parts of a patch, and the readings are interleaved (arXiv 2112.05814 reaches this by a smaller stride).
    """
    patch = int(vision.network.config.patch_size)
    own_patches = vision.side_px / patch
    times = max(1, math.ceil((grid[0] * grid[1]) ** 0.5 / own_patches - 1e-6))
    rows, columns = math.ceil(grid[0] / times), math.ceil(grid[1] / times)
    mean, std = (torch.tensor(values, device=pictures.device)[:, None, None] for values in (vision.mean, vision.std))
    sized = torch.stack([resize(picture, (rows * patch, columns * patch)) for picture in pictures])
    offsets = [round(((shift + 0.5) / times - 0.5) * patch) for shift in range(times)]
    margin = patch // 2
    padded = F.pad((sized - mean) / std, (margin,) * 4, mode="replicate")
    moved = [
        padded[..., margin + y : margin + y + rows * patch, margin + x : margin + x + columns * patch]
        for y in offsets
        for x in offsets
    ]
    network = vision.network
    # One reading at a time: their number grows with the grid, and memory should not.
    read = torch.stack([network(pixel_values=part.to(network.dtype)).last_hidden_state for part in moved])
    prefix = 1 + int(getattr(network.config, "num_register_tokens", 0))
    dense = read[:, :, prefix:].float().unflatten(0, (times, times)).unflatten(3, (rows, columns))
    picture = dense.permute(2, 5, 3, 0, 4, 1).flatten(4, 5).flatten(2, 3)
    if (rows * times, columns * times) != grid:
        picture = F.interpolate(picture, size=grid, mode="bilinear", align_corners=False)
    features: Tensor = picture.flatten(2).transpose(1, 2)
    return features
