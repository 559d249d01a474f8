"""From rows of noisy latents to one guided noise prediction per row, in a single call of the UNet."""

from collections.abc import Callable

import torch
from diffusers import UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor

from core.text import Conditioning

Rows = Float[Tensor, "rows channels height width"]
NoisePredictor = Callable[[Rows, int], Rows]
"""Takes noisy rows and their timestep, returns what the UNet predicts for each."""


def make_predictor(
    unet: UNet2DConditionModel,
    conditional: Conditioning,
    unconditional: Conditioning | None,
    guidance_scale: float,
) -> NoisePredictor:
    """Classifier-free guidance (arXiv 2207.12598) over all rows alike; without an unconditional half, none.

    With guidance the batch is the unconditional half followed by the conditional one, each with all rows in the same
    order, so that an edit of attention inputs finds every row in both halves. Every row sees the same prompts, the
    same scale and the same sizes: that is what makes the structure row reconstruct its picture.
    """
    halves = [conditional] if unconditional is None else [unconditional, conditional]
    tokens = torch.cat([half.tokens for half in halves])
    pooled = [half.pooled for half in halves if half.pooled is not None]
    beside = (
        {"text_embeds": torch.cat(pooled), "time_ids": torch.cat([half.sizes for half in halves])} if pooled else {}
    )

    @torch.no_grad()
    def predict(rows: Rows, timestep: int) -> Rows:
        count = len(rows)
        output: Tensor = unet(
            rows.to(unet.dtype).repeat(len(halves), 1, 1, 1),
            torch.tensor(timestep, device=rows.device),
            encoder_hidden_states=tokens.repeat_interleave(count, dim=0),
            added_cond_kwargs={name: value.repeat_interleave(count, dim=0) for name, value in beside.items()},
        ).sample
        output = output.to(rows.dtype)
        if unconditional is None:
            return output
        without, with_prompt = output.chunk(2)
        return without + guidance_scale * (with_prompt - without)

    return predict


def falling_guidance(start: float, done: int, total: int) -> float:
    """Appearance guidance at the step after `done` of `total`: from `start` evenly to its half, not below 1
    (Cross-Image Attention, arXiv 2311.03335, section 4.3; end value as in its authors' code)."""
    stop = max(start / 2.0, 1.0)
    return start + (stop - start) * done / max(total - 1, 1)
