"""Prompts as SDXL reads them: both text encoders, and the micro-conditioning beside them.

SDXL: Podell et al. (arXiv 2307.01952), sections 2.1 (text encoders) and 2.2 (size and crop conditioning).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from core.models import Models


@dataclass(frozen=True)
class Conditioning:
    """What one prompt tells the UNet, for a single row."""

    tokens: Float[Tensor, "1 length channels"]
    pooled: Float[Tensor, "1 pooled_channels"]
    sizes: Float[Tensor, "1 6"]
    """Original height and width, crop top and left, target height and width, in pixels."""


@torch.no_grad()
def encode_prompt(models: Models, prompt: str, *, height: int, width: int, negative: bool = False) -> Conditioning:
    """Penultimate hidden states of both encoders side by side, and the second one's projected text embedding.

    Both pictures of a job get the same sizes: the working size, uncropped. An empty *negative* prompt is zeros where
    the checkpoint was trained so.
    """
    states, pooled = [], torch.empty(0)
    for tokenizer, encoder in zip(models.tokenizers, models.text_encoders, strict=True):
        ids = tokenizer(
            prompt,
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        output = encoder(ids.to(models.device), output_hidden_states=True)
        states.append(output.hidden_states[-2])
        pooled = output[0]
    tokens = torch.cat(states, dim=-1).to(models.unet.dtype)
    pooled = pooled.to(models.unet.dtype)
    if negative and not prompt and models.zero_empty_negative:
        tokens, pooled = torch.zeros_like(tokens), torch.zeros_like(pooled)
    sizes = torch.tensor([[height, width, 0, 0, height, width]], device=models.device, dtype=models.unet.dtype)
    return Conditioning(tokens, pooled, sizes)
