"""How a vision model wants its pictures: size, order of values, mean and deviation.

The values are those of the checkpoint's `preprocessor_config.json`; the arithmetic is here, because transformers' own
image processors need torchvision.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from core.types import Picture

Interpolation = Literal["bilinear", "bicubic", "nearest"]


@dataclass(frozen=True)
class Recipe:
    """Resize, then `(x - mean) / std` by channel, then pad with 0 to the right and below."""

    size: tuple[int, int]
    """Height and width in pixels of what enters the model."""
    keep_aspect: bool
    """Whether the longer side is brought to the larger of `size` and the rest padded; else the picture is stretched."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation = "bilinear"

    def inner_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that a picture of this size has before padding."""
        if not self.keep_aspect:
            return self.size
        scale = max(self.size) / max(height, width)
        return int(height * scale + 0.5), int(width * scale + 0.5)

    def prepare(self, picture: Picture) -> Float[Tensor, "1 3 model_height model_width"]:
        """`picture` (0 to 1) as the model's `pixel_values`, in float32."""
        inner = self.inner_size(picture.shape[1], picture.shape[2])
        smooth = self.interpolation != "nearest"
        options = {"align_corners": False, "antialias": True} if smooth else {}
        pixels = F.interpolate(picture[None].float(), size=inner, mode=self.interpolation, **options)
        mean, std = (torch.tensor(values, device=picture.device)[:, None, None] for values in (self.mean, self.std))
        pixels = (pixels.clamp(0.0, 1.0) - mean) / std
        return F.pad(pixels, (0, self.size[1] - inner[1], 0, self.size[0] - inner[0]))

    def restore(
        self, maps: Float[Tensor, "maps map_height map_width"], size: tuple[int, int]
    ) -> Float[Tensor, "maps picture_height picture_width"]:
        """The model's maps of its whole input, at any resolution, resized to the picture of `size`."""
        inner = self.inner_size(*size)
        full = F.interpolate(maps[None].float(), size=self.size, mode="bilinear", align_corners=False)
        visible = full[..., : inner[0], : inner[1]]
        return F.interpolate(visible, size=size, mode="bilinear", align_corners=False, antialias=True)[0]
