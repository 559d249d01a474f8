"""The frozen networks that one transfer uses, as plain references, and the table of families of checkpoints, so that
no code asks which one it has. Loading them is the business of `checkpoints`.

Prompts become the UNet's conditioning here: SDXL, Podell et al. (arXiv 2307.01952), sections 2.1 (text encoders) and
2.2 (size and crop conditioning).
"""

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, PreTrainedModel

from core.models.part_classifier import PartFinder
from core.models.salient import SalientFinder
from core.models.segmenters import Segmenter, TextSegmenter
from core.params.optional_models import OPTIONAL_MODELS, OptionalModel
from core.types import Conditioning


@dataclass(frozen=True)
class Backbone:
    """One family of checkpoints."""

    pipeline: str
    """Class of diffusers' pipeline, by which a checkpoint's model_index.json names its family."""
    parts: tuple[str, ...]
    """Networks that a checkpoint holds, by their names there."""
    tokenizers: tuple[str, ...]
    text_encoders: tuple[str, ...]
    """In the order in which their states are set side by side."""
    text_layer: int | None
    """Which hidden states of a text encoder condition the UNet; None: the last ones, normalised."""
    sized: bool
    """Whether the UNet is conditioned on the pooled prompt, and on the picture's size and crop, beside the tokens."""
    match_layers: tuple[str, ...]
    """Self-attention layers whose inputs one map for all layers is made of."""
    injection_layers: tuple[str, ...]
    """Self-attention layers in which the output takes from the reference: the decoder's two finer levels."""
    ground_layer: str
    """The input of the first self-attention in here tells figure and ground apart: an early one, before pictures of
    one kind grow alike."""


SDXL = Backbone(
    pipeline="StableDiffusionXLPipeline",
    parts=("unet", "vae", "text_encoder", "text_encoder_2"),
    tokenizers=("tokenizer", "tokenizer_2"),
    text_encoders=("text_encoder", "text_encoder_2"),
    text_layer=-2,
    sized=True,
    match_layers=("up_blocks.1",),
    injection_layers=("up_blocks.0", "up_blocks.1"),
    ground_layer="down_blocks.1",
)
SD15 = Backbone(
    pipeline="StableDiffusionPipeline",
    parts=("unet", "vae", "text_encoder"),
    tokenizers=("tokenizer",),
    text_encoders=("text_encoder",),
    text_layer=None,
    sized=False,
    match_layers=("up_blocks.1", "up_blocks.2"),
    injection_layers=("up_blocks.2", "up_blocks.3"),
    ground_layer="down_blocks.1",
)
"""Stable Diffusion 1.x, and 2.x, which has its layout."""
BACKBONES = (SDXL, SD15)


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
    """Over 0: of its cosines beside the UNet's, where both count. Published fusions weigh both alike (arXiv
    2305.15347)."""


@dataclass(frozen=True, eq=False)
class Models:
    """A checkpoint in memory. Whatever a transfer changes for a while (`core.models.unet.patched`, the VAE's
    precision in `core.models.vae`, its tiles in `core.models.vae`) it puts back."""

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
    """Classifies places by a list of words for parts."""
    salient: SalientFinder | None = None
    """Finds the thing in a photograph; without it, the UNet's early features do."""

    @property
    def loaded(self) -> tuple[OptionalModel, ...]:
        """Names of the optional models that are there."""
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


@torch.no_grad()
def encode_prompt(models: Models, prompt: str, *, height: int, width: int, negative: bool = False) -> Conditioning:
    """Hidden states of all text encoders side by side, and the last one's projected text embedding.

    Both pictures of a job get the same sizes: the working size, uncropped. An empty *negative* prompt is zeros where
    the checkpoint was trained so.
    """
    backbone, dtype = models.backbone, models.unet.dtype
    states: list[Tensor] = []
    pooled: Tensor | None = None
    for tokenizer, encoder in zip(models.tokenizers, models.text_encoders, strict=True):
        ids = tokenizer(
            prompt,
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        output = encoder(ids.to(models.device), output_hidden_states=True)
        layer = backbone.text_layer
        states.append(output.last_hidden_state if layer is None else output.hidden_states[layer])
        pooled = output[0].to(dtype) if backbone.sized else None
    tokens = torch.cat(states, dim=-1).to(dtype)
    if negative and not prompt and models.zero_empty_negative:
        tokens = torch.zeros_like(tokens)
        pooled = None if pooled is None else torch.zeros_like(pooled)
    sizes = torch.tensor([[height, width, 0, 0, height, width]], device=models.device, dtype=dtype)
    return Conditioning(tokens, pooled, sizes)
