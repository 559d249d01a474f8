"""How segmentation models and CLIP get their pictures: by the Pillow processors of transformers, without torchvision.

Sizes, order of steps, mean, deviation and padding are theirs, from a checkpoint's `preprocessor_config.json`. One step
of theirs is replaced, the resizing, which rounds to 8 bits twice; and SAM 2, which has no Pillow processor, gets the
steps of their common base (docs/adr/0033-image-processors.md).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import CLIPImageProcessorPil, SamImageProcessorPil, ViTImageProcessorPil
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, SizeDict

from core.types import Picture


class FloatResize(PilBackend):
    """A processor for pictures of floats, 0 to 1, that resizes them in 32-bit floats."""

    def resize(
        self, image: NDArray[np.float32], size: SizeDict, resample: int | None = None, **_: Any
    ) -> NDArray[np.float32]:
        """`image` [channels, height, width] stretched to the height and width of `size`, within 0 and 1.

        Raises ValueError for a size of another kind, such as `shortest_edge`.
        """
        if not (size.height and size.width):
            raise ValueError(f"size {size} is not supported: height and width are needed")
        method = Image.Resampling.BILINEAR if resample is None else Image.Resampling(resample)
        channels = [Image.fromarray(channel).resize((size.width, size.height), method) for channel in image]
        return np.stack([np.asarray(channel) for channel in channels]).clip(0.0, 1.0)


class SamProcessor(SamImageProcessorPil, FloatResize):
    """SAM and SAM-HQ: the longer side to `size`, then padded to a square."""


class Sam2Processor(FloatResize):
    """SAM 2: stretched to a square. Values that the checkpoint's file lacks are those of `Sam2ImageProcessor`."""

    resample = Image.Resampling.BILINEAR
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
    size = {"height": 1024, "width": 1024}  # noqa: RUF012 - the attribute of the base class
    do_resize = True
    do_normalize = True


class ClipSegProcessor(ViTImageProcessorPil, FloatResize):
    """CLIPSeg, which has the processor of ViT: stretched to a square."""


class ClipProcessor(CLIPImageProcessorPil, FloatResize):
    """CLIP: cut to a square, unless the call names another size."""


@dataclass(frozen=True, eq=False)
class PreparedPicture:
    """A picture as a model takes it, and where it lies in the model's input."""

    pixels: Float[Tensor, "1 3 model_height model_width"]
    """`pixel_values`, in float32 on the CPU."""
    inner_size: tuple[int, int]
    """Height and width that the picture has in `pixels`; the rest, to the right and below, is padding."""

    def restore(
        self, maps: Float[Tensor, "maps map_height map_width"], size: tuple[int, int]
    ) -> Float[Tensor, "maps picture_height picture_width"]:
        """The model's maps of its whole input, at any resolution, resized to the picture of `size`.

        As `post_process_masks` of the processors, but low-passed where the picture is smaller than the model's input.
        """
        height, width = self.inner_size
        full = F.interpolate(
            maps[None].float(), size=tuple(self.pixels.shape[2:]), mode="bilinear", align_corners=False
        )
        visible = full[..., :height, :width]
        return F.interpolate(visible, size=size, mode="bilinear", align_corners=False, antialias=True)[0]


def prepare(processor: FloatResize, picture: Picture, **options: Any) -> PreparedPicture:
    """`picture`, 0 to 1 on any device, by the steps of `processor`. `options` take the place of values of its file.

    Raises ValueError for a size, a padding or an interpolation that the processor does not support.
    """
    found = processor(
        picture.float().cpu().numpy(),
        do_rescale=False,
        do_convert_rgb=False,
        input_data_format="channels_first",
        return_tensors="pt",
        **options,
    )
    pixels: Tensor = found["pixel_values"]
    height, width = found.get("reshaped_input_sizes", [pixels.shape[2:]])[0]
    return PreparedPicture(pixels, (int(height), int(width)))
