"""Confidence: how far a match is trusted, and what becomes of a token whose match is not."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MUTUAL_TOKENS = 2.0
"""A match whose way back ends this far from where it began has a confidence of 0.61 (standard deviation of a
Gaussian)."""
RATIO_TRUSTED = 0.8
"""Lowe's ratio test (IJCV 2004): the best match's distance over that of the best elsewhere, below which it is
trusted wholly. At 1 it is not at all."""
ELSEWHERE_TOKENS = 2
"""Matches nearer to the best one than this are the same place."""
TRUSTED = 0.5
"""Confidence from which a match is continued by its neighbours."""


def mutual_confidence(
    index: Int[Tensor, " tokens"], backward: Int[Tensor, " tokens"], grid: tuple[int, int]
) -> Float[Tensor, " tokens"]:
    """Confidence in matches `index`, 0 to 1, by where `backward`, the reference's matches in the target, lead back to:
    1 where a match ends in the token that it began in, falling as a Gaussian of the distance (MUTUAL_TOKENS)."""
    home = torch.arange(len(index), device=index.device)
    squared = _squared_tokens(home, backward[index], grid)
    return torch.exp(-0.5 * squared / MUTUAL_TOKENS**2)


def ratio_test(
    cosine: Float[Tensor, "target_tokens reference_tokens"],
    index: Int[Tensor, " target_tokens"],
    grid: tuple[int, int],
    there: Bool[Tensor, " reference_tokens"],
) -> Float[Tensor, " target_tokens"]:
    """Confidence, 0 to 1, by how much better the match is than the best place elsewhere; 1 where there is no
    elsewhere."""
    columns = grid[1]
    every = torch.arange(cosine.shape[1], device=cosine.device)
    rows_apart = (every // columns)[None, :] - (index // columns)[:, None]
    columns_apart = (every % columns)[None, :] - (index % columns)[:, None]
    same = (rows_apart.abs() <= ELSEWHERE_TOKENS) & (columns_apart.abs() <= ELSEWHERE_TOKENS)
    elsewhere = cosine.masked_fill(same | ~there, -torch.inf).max(dim=-1).values
    best = cosine.gather(1, index[:, None])[:, 0]
    ratio = (1.0 - best).clamp(min=1e-6) / (1.0 - elsewhere).clamp(min=1e-6)
    return ((1.0 - ratio) / (1.0 - RATIO_TRUSTED)).clamp(0.0, 1.0)


def continue_nearest(
    index: Int[Tensor, " tokens"],
    confidence: Float[Tensor, " tokens"],
    grid: tuple[int, int],
    inside: Bool[Tensor, " tokens"],
    there: Bool[Tensor, " tokens"],
) -> tuple[Int[Tensor, " tokens"], Bool[Tensor, " tokens"]]:
    """Matches in which every token that is not trusted continues that of the nearest trusted one inside the target
    mask, and which those are. A place beyond the reference mask gives way to the neighbour's own; without any trusted
    token nothing changes.
    """
    rows, columns = grid
    trusted = (confidence >= TRUSTED) & inside
    doubted = ~trusted
    if not bool(trusted.any()):
        return index, torch.zeros_like(inside)
    candidates = trusted.nonzero()[:, 0]
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
