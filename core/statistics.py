"""Matching the first two moments of latents inside masks."""

import torch
from jaxtyping import Float
from torch import Tensor

EPSILON = 1e-5


def masked_adain(
    content: Float[Tensor, "1 channels height width"],
    style: Float[Tensor, "1 channels height width"],
    content_mask: Float[Tensor, "height width"],
    style_mask: Float[Tensor, "height width"],
    strength: float = 1.0,
) -> Float[Tensor, "1 channels height width"]:
    """AdaIN (Huang and Belongie, arXiv 1703.06868, eq. 8) between masks: inside its mask the content takes the mean and
    standard deviation, by channel, that the style has inside its own; outside it stays. Masks are weights, 0 to 1, and
    not all 0; a `strength` below 1 goes only so far."""
    content_mean, content_std = _moments(content, content_mask)
    style_mean, style_std = _moments(style, style_mask)
    moved = (content - content_mean) / content_std * style_std + style_mean
    return torch.lerp(content, moved, content_mask.to(content.dtype) * strength)


def _moments(
    latent: Float[Tensor, "1 channels height width"], mask: Float[Tensor, "height width"]
) -> tuple[Float[Tensor, "1 channels 1 1"], Float[Tensor, "1 channels 1 1"]]:
    weight = mask.to(latent.dtype) / mask.to(latent.dtype).sum()
    mean = (latent * weight).sum((-2, -1), keepdim=True)
    variance = ((latent - mean) ** 2 * weight).sum((-2, -1), keepdim=True)
    return mean, (variance + EPSILON).sqrt()
