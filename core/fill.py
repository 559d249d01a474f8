"""A picture's colours continued beyond a mask: what matches reach past the figure's outline is not its surroundings."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from core.canvas import Mask, Picture

MIXED_PX = 1
"""How far inside its outline a figure's pixels mix with what is behind it (ADR 31)."""


def continue_beyond(picture: Picture, mask: Mask) -> Picture:
    """`picture` with the colours well inside `mask` (weights 0 to 1, of its size) continued over everything else.

    A mask without an outline, or so thin that nothing is well inside, leaves the picture as it is.
    """
    outside = (mask < 0.5).to(picture.dtype)[None, None]
    inside = F.max_pool2d(outside, 2 * MIXED_PX + 1, stride=1, padding=MIXED_PX) < 0.5
    return pull_push(picture[None], inside)[0] if bool(inside.any()) else picture


def pull_push(
    values: Float[Tensor, "1 channels height width"], known: Bool[Tensor, "1 1 height width"]
) -> Float[Tensor, "1 channels height width"]:
    """`values` where `known`; elsewhere the mean of what is known around, the nearer the finer (Gortler et al., The
    Lumigraph, 1996, section 3.5). Something has to be known."""
    if bool(known.all()):
        return values
    weight = known.to(values.dtype)
    share = F.avg_pool2d(weight, 2, ceil_mode=True)
    means = F.avg_pool2d(values * weight, 2, ceil_mode=True) / share.clamp(min=1e-6)
    coarse = pull_push(means, share > 0.0)
    size = (values.shape[2], values.shape[3])
    return torch.where(known, values, F.interpolate(coarse, size=size, mode="bilinear", align_corners=False))
