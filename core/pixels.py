"""Pillow images to tensors and back."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor


def from_pil(image: Image.Image) -> Float[Tensor, "channels height width"]:
    """An 8-bit RGB, RGBA or L image as float32 in 0..1."""
    pixels = np.array(image, dtype=np.uint8)
    return torch.from_numpy(pixels).reshape(image.height, image.width, -1).permute(2, 0, 1).float() / 255.0


def to_pil(pixels: UInt8[Tensor, "height width channels"]) -> Image.Image:
    """RGB or RGBA, by the number of channels."""
    return Image.fromarray(pixels.cpu().numpy())
