"""Prompts as the backbone reads them: its text encoders and, for SDXL, the micro-conditioning beside them.

SDXL: Podell et al. (arXiv 2307.01952), sections 2.1 (text encoders) and 2.2 (size and crop conditioning).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from core.models.models import Models


@dataclass(frozen=True)
class Conditioning:
    """What one prompt tells the UNet, for a single row."""

    tokens: Float[Tensor, "1 length channels"]
    pooled: Float[Tensor, "1 pooled_channels"] | None
    """The prompt as a whole; None where the backbone is not told."""
    sizes: Float[Tensor, "1 6"]
    """Original height and width, crop top and left, target height and width, in pixels."""


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
