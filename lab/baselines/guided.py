"""The guided filter: a picture redrawn as a local affine function of a guide.

He, Sun, Tang, "Guided image filtering" (ECCV 2010), with a colour guide (their section 3.4).
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def guided_filter(source: Tensor, guide: Tensor, weight: Tensor, *, radius: int, epsilon: float) -> Tensor:
    """`source` and `guide` `[3, height, width]` in 0..1; windows of side `2 radius + 1` count pixels by `weight`
    `[height, width]`, and `epsilon` is the variance of the guide below which it is taken for flat."""

    def mean(planes: Tensor) -> Tensor:
        side = 2 * radius + 1
        pooled = F.avg_pool2d((planes * weight)[None], side, stride=1, padding=radius)[0]
        return pooled / share

    share = F.avg_pool2d(weight[None, None], 2 * radius + 1, stride=1, padding=radius)[0].clamp_min(1e-6)
    guide_mean, source_mean = mean(guide), mean(source)
    products = (guide[:, None] * guide[None, :]).flatten(0, 1)
    variance = mean(products).unflatten(0, (3, 3)) - guide_mean[:, None] * guide_mean[None, :]
    mixed = (guide[:, None] * source[None, :]).flatten(0, 1)
    covariance = mean(mixed).unflatten(0, (3, 3)) - guide_mean[:, None] * source_mean[None, :]
    ridge = epsilon * torch.eye(3, dtype=guide.dtype)
    slope = torch.linalg.solve(variance.permute(2, 3, 0, 1) + ridge, covariance.permute(2, 3, 0, 1))
    offset = source_mean - torch.einsum("hwgs,ghw->shw", slope, guide_mean)
    slope = mean(slope.permute(2, 3, 0, 1).flatten(0, 1)).unflatten(0, (3, 3))
    return torch.einsum("gshw,ghw->shw", slope, guide) + mean(offset)
