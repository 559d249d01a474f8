"""The frozen networks that one transfer uses, as plain references. Loading them is the business of `checkpoints`."""

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from core.backbones import SDXL, Backbone
from core.optional import OPTIONAL_MODELS, OptionalModel
from core.parts import PartFinder
from core.segment import Segmenter, TextSegmenter
from core.vision import VisionModel


@dataclass(frozen=True, eq=False)
class Models:
    """A checkpoint in memory. Whatever a transfer changes for a while (`core.patch.patched`, the VAE's
    precision in `core.latents`, its tiles in `core.footprint`) it puts back."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoders: tuple[CLIPTextModel | CLIPTextModelWithProjection, ...]
    tokenizers: tuple[CLIPTokenizer, ...]
    alphas_cumprod: Tensor
    """The training schedule, alpha-bar of DDPM, one float64 value per training timestep, on the CPU."""
    prediction_type: str
    """What the UNet predicts: `epsilon`, `v_prediction` or `sample`."""
    zero_empty_negative: bool
    """Whether an empty negative prompt is embedded as zeros, as SDXL base was trained."""
    backbone: Backbone = SDXL
    """Which family it belongs to."""
    segmenter: Segmenter | None = None
    """Finds the thing in a box or at points."""
    text_segmenter: TextSegmenter | None = None
    """Finds what a text names."""
    correspondence: VisionModel | None = None
    """Describes places by what they are part of, beside the UNet's own features."""

    part_finder: PartFinder | None = None
    """Tells places apart by what a list of words calls them."""

    @property
    def held(self) -> tuple[OptionalModel, ...]:
        """The optional models that are there."""
        return tuple(name for name in OPTIONAL_MODELS if getattr(self, name) is not None)

    @property
    def device(self) -> torch.device:
        device: torch.device = self.unet.device
        return device

    @property
    def trajectory_dtype(self) -> torch.dtype:
        """Precision of the scheduler arithmetic: float32 at least, whatever the UNet runs in."""
        return torch.promote_types(self.unet.dtype, torch.float32)

    def finest_grid(self, latent_size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the tokens of the UNet's finest self-attention, for a latent of `latent_size`."""
        blocks = self.unet.config.down_block_types
        level = next(level for level, name in enumerate(blocks) if "Attn" in name)
        return latent_size[0] // 2**level, latent_size[1] // 2**level

    @property
    def vae_factor(self) -> int:
        """Pixels per latent position, along one side."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def size_multiple(self) -> int:
        """Working sides are multiples of this many pixels, so that every level of the UNet halves evenly."""
        return self.vae_factor * int(2 ** (len(self.unet.config.block_out_channels) - 1))

    @property
    def native_resolution(self) -> int:
        """Side in pixels of the square picture that the UNet was trained on."""
        return int(self.unet.config.sample_size) * self.vae_factor
