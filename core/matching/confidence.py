"""How far a match is to be believed, and what becomes of a token whose match is not."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MUTUAL_TOKENS = 2.0
"""A match whose way back ends this far from where it began is believed by 0.61 (standard deviation of a Gaussian)."""
RATIO_BELIEVED = 0.8
"""Lowe's ratio test (IJCV 2004): the best match's distance over that of the best elsewhere, below which it is
believed wholly. At 1 it is not at all."""
ELSEWHERE_TOKENS = 2
"""Matches nearer to the best one than this are the same place."""
BELIEVED = 0.5


@dataclass(frozen=True)
class MatchRule:
    """What is asked of a match beyond being the best."""

    mutual: bool = False
    """Matching back from the reference has to lead home."""
    ratio: bool = False
    """It has to be clearly better than any other place."""
    borrow: bool = False
    """Doubted tokens take the match of the nearest believed one instead of keeping their own look."""
    ranks: int = 1
    """How many of the best matches are blended."""


PLAIN = MatchRule()


def far_from_mutual(
    index: Int[Tensor, " tokens"], backward: Int[Tensor, " tokens"], grid: tuple[int, int]
) -> Float[Tensor, " tokens"]:
    """Belief in matches `index` by where `backward`, the reference's matches in the target, lead from them."""
    home = torch.arange(len(index), device=index.device)
    squared = _squared_tokens(home, backward[index], grid)
    return torch.exp(-0.5 * squared / MUTUAL_TOKENS**2)


def ratio_test(
    cosine: Float[Tensor, "target_tokens reference_tokens"],
    index: Int[Tensor, " target_tokens"],
    grid: tuple[int, int],
    there: Bool[Tensor, " reference_tokens"],
) -> Float[Tensor, " target_tokens"]:
    """Belief by how much better the match is than the best place elsewhere; wholly where there is no elsewhere."""
    columns = grid[1]
    every = torch.arange(cosine.shape[1], device=cosine.device)
    rows_apart = (every // columns)[None, :] - (index // columns)[:, None]
    columns_apart = (every % columns)[None, :] - (index % columns)[:, None]
    same = (rows_apart.abs() <= ELSEWHERE_TOKENS) & (columns_apart.abs() <= ELSEWHERE_TOKENS)
    elsewhere = cosine.masked_fill(same | ~there, -torch.inf).max(dim=-1).values
    best = cosine.gather(1, index[:, None])[:, 0]
    ratio = (1.0 - best).clamp(min=1e-6) / (1.0 - elsewhere).clamp(min=1e-6)
    return ((1.0 - ratio) / (1.0 - RATIO_BELIEVED)).clamp(0.0, 1.0)


def rank(
    belief: Float[Tensor, "target_tokens reference_tokens"], ranks: int
) -> tuple[Int[Tensor, "target_tokens ranks"], Float[Tensor, "target_tokens ranks"]]:
    """The best matches by logarithmic belief, and their shares; what may not be taken has a share of 0."""
    best = belief.topk(min(ranks, belief.shape[1]), dim=-1)
    return best.indices, torch.softmax(best.values, dim=-1)


def borrow_nearest(
    index: Int[Tensor, " tokens"],
    confidence: Float[Tensor, " tokens"],
    grid: tuple[int, int],
    inside: Bool[Tensor, " tokens"],
    there: Bool[Tensor, " tokens"],
) -> tuple[Int[Tensor, " tokens"], Bool[Tensor, " tokens"]]:
    """Matches in which every doubted token continues that of the nearest believed token inside the target mask, and
    which those are. A place beyond the reference mask gives way to the neighbour's own; without any believed token
    nothing changes.
    """
    rows, columns = grid
    believed = (confidence >= BELIEVED) & inside
    doubted = ~believed
    if not bool(believed.any()):
        return index, torch.zeros_like(inside)
    candidates = believed.nonzero()[:, 0]
    every = torch.arange(len(index), device=index.device)
    apart = _squared_tokens(every[:, None], candidates[None, :], grid)
    nearest = candidates[apart.argmin(dim=-1)]
    row = index[nearest] // columns + every // columns - nearest // columns
    column = index[nearest] % columns + every % columns - nearest % columns
    continued = row.clamp(0, rows - 1) * columns + column.clamp(0, columns - 1)
    continued = torch.where(there[continued], continued, index[nearest])
    return torch.where(doubted, continued, index), doubted


def _squared_tokens(a: Tensor, b: Tensor, grid: tuple[int, int]) -> Tensor:
    """Squared distance, in tokens, between tokens given by index."""
    columns = grid[1]
    return ((a // columns - b // columns) ** 2 + (a % columns - b % columns) ** 2).float()
