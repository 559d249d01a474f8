"""Neighbours in the target should match neighbours in the reference.

Every target token holds a belief over all reference tokens. Mean-field inference in a random field over the target's
token grid: a token's belief is its own cosine evidence times what the eight tokens around it believe, blurred over the
reference. The blur is the same in every direction, so rotated and mirrored pictures are served alike. The idea that
neighbours vote for each other's matches is that of neighbourhood consensus (Rocco et al., arXiv 1810.10510), without
its training.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

TEMPERATURE = 0.12
"""Difference in cosine that makes a match e times as likely."""
BLUR_TOKENS = 2.0
"""How far apart, in tokens, the matches of neighbours usually lie (standard deviation)."""
ITERATIONS = 8
FLOOR = 1e-4
"""Share of belief that is always left to a jump between surfaces."""


def agree_with_neighbours(
    cosine: Float[Tensor, "target_tokens reference_tokens"],
    grid: tuple[int, int],
    target_mask: Bool[Tensor, " target_tokens"],
    reference_mask: Bool[Tensor, " reference_tokens"],
    *,
    weight: float,
) -> Float[Tensor, "target_tokens reference_tokens"]:
    """Logarithmic belief of every target token in every reference token, up to a constant per row; -inf outside the
    reference mask. `weight` is the say of the neighbours; at 0 the order of every row is that of its cosines.

    Both pictures have their tokens on `grid`. Tokens outside the target mask have no say.
    """
    evidence = (cosine / TEMPERATURE).masked_fill(~reference_mask, -torch.inf)
    voices = target_mask.to(cosine.dtype)[:, None]
    listeners = _neighbour_sum(voices, grid).clamp(min=1.0)
    belief = evidence
    for _ in range(ITERATIONS):
        spread = _blur(torch.softmax(belief, dim=-1) * voices, grid)
        heard = _neighbour_sum(spread, grid) / listeners
        belief = evidence + weight * torch.log(heard + FLOOR)
    return belief


def _blur(
    belief: Float[Tensor, "target_tokens reference_tokens"], grid: tuple[int, int]
) -> Float[Tensor, "target_tokens reference_tokens"]:
    """Gaussian over the reference's grid; what leaves the grid is lost."""
    down, across = (_gaussian(side, belief) for side in grid)
    blurred: Tensor = (down @ belief.unflatten(1, grid) @ across).flatten(1)
    return blurred


def _gaussian(side: int, like: Tensor) -> Float[Tensor, "side side"]:
    """The blur of `side` tokens in a row as a matrix: two products of it are far faster than a convolution over one
    picture for every token."""
    radius = int(3.0 * BLUR_TOKENS + 0.5)
    x = torch.arange(side, device=like.device, dtype=like.dtype)
    apart = (x[:, None] - x[None, :]).abs()
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / BLUR_TOKENS) ** 2)
    return (torch.exp(-0.5 * (apart / BLUR_TOKENS) ** 2) / float(kernel.sum())).masked_fill(apart > radius, 0.0)


def _neighbour_sum(
    values: Float[Tensor, "target_tokens columns"], grid: tuple[int, int]
) -> Float[Tensor, "target_tokens columns"]:
    """Sum over the eight tokens around every target token."""
    around = values.T.unflatten(1, (1, *grid))
    ring = torch.ones(1, 1, 3, 3, device=values.device, dtype=values.dtype)
    ring[0, 0, 1, 1] = 0.0
    return F.conv2d(around, ring, padding=1).flatten(1).T
