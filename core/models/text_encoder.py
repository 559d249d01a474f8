"""Prompts as the backbone reads them: its text encoders and, for SDXL, the micro-conditioning beside them.

SDXL: Podell et al. (arXiv 2307.01952), sections 2.1 (text encoders) and 2.2 (size and crop conditioning).
"""

import torch
from torch import Tensor

from core.models.models import Models
from core.types import Conditioning


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
