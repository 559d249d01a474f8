"""Features of a separate vision model (DINOv2, DINOv3, or any transformer of their layout) as descriptors of places.

Such models match parts better than a diffusion network's features alone, and the two together better still (Zhang et
al., "A tale of two features", arXiv 2305.15347).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from core.images.geometry import resize


@dataclass(frozen=True, eq=False)
class VisionModel:
    """A frozen vision transformer of the DINO family, and how its input is normalised."""

    network: PreTrainedModel
    """`last_hidden_state` is class token, registers if any, then the patches in reading order."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    side_px: int
    """Side of the square picture that it reads best; other shapes get the same area."""
    fusion_weight: float = 1.0
    """Over 0: of its cosines beside the UNet's, where both are heard. Published fusions weigh both alike (arXiv
    2305.15347)."""

    @property
    def patch_px(self) -> int:
        return int(self.network.config.patch_size)


@torch.no_grad()
def place_features(
    vision: VisionModel, pictures: Float[Tensor, "pictures 3 height width"], grid: tuple[int, int]
) -> Float[Tensor, "pictures tokens channels"]:
    """One feature for every token of `grid` (rows, columns), in reading order; pictures are RGB, 0 to 1.

    Where the model's own patches at its best size are coarser than the grid, it reads the pictures several times, moved
    by parts of a patch, and the readings are interleaved (arXiv 2112.05814 reaches this by a smaller stride).
    """
    patch = vision.patch_px
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
