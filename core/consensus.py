"""Neighbours in the target should match neighbours in the reference.

Every target token holds a belief over all reference tokens. Mean-field inference in a random field over the target's
token grid: a token's belief is its own cosine evidence times what the eight tokens around it believe, those of its own
colour most (as in the bilateral terms of Krähenbühl and Koltun, arXiv 1210.5644), blurred over the reference. The blur
is the same in every direction, so rotated and mirrored pictures are served alike. The idea that neighbours vote for
each other's matches is that of neighbourhood consensus (Rocco et al., arXiv 1810.10510), without its training.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

TEMPERATURE = 0.08
"""Difference in cosine that makes a match e times as likely."""
BLUR_TOKENS = 2.0
"""How far apart, in tokens, the matches of neighbours usually lie (standard deviation)."""
ITERATIONS = 8
RING = tuple((down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right)
FLOOR = 1e-4
"""Share of belief that is always left to a jump between surfaces."""
SAME_COLOUR = 0.1
"""Difference of colours (RGB, 0 to 1) at which a neighbour has 0.61 of its say."""


def agree_with_neighbours(
    cosine: Float[Tensor, "target_tokens reference_tokens"],
    grid: tuple[int, int],
    target_mask: Bool[Tensor, " target_tokens"],
    reference_mask: Bool[Tensor, " reference_tokens"],
    *,
    weight: float,
    colours: Float[Tensor, "target_tokens 3"] | None = None,
) -> Float[Tensor, "target_tokens reference_tokens"]:
    """Logarithmic belief of every target token in every reference token, up to a constant per row; -inf outside the
    reference mask. `weight` is the say of the neighbours; at 0 the order of every row is that of its cosines.

    Both pictures have their tokens on `grid`. Tokens outside the target mask have no say. With `colours`, of the
    target's tokens (RGB, 0 to 1), neighbours of another colour have less.
    """
    evidence = (cosine / TEMPERATURE).masked_fill(~reference_mask, -torch.inf)
    neighbours = _neighbours(grid, target_mask.to(cosine.dtype), colours)
    belief = evidence
    for _ in range(ITERATIONS):
        heard = torch.sparse.mm(neighbours, _blur(torch.softmax(belief, dim=-1), grid))
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


def _neighbours(
    grid: tuple[int, int], voices: Float[Tensor, " tokens"], colours: Float[Tensor, "tokens 3"] | None
) -> Float[Tensor, "tokens tokens"]:
    """Sparse: the share that each of the eight tokens around a token has in what it hears."""
    rows, columns = grid
    token = torch.arange(rows * columns, device=voices.device)
    row, column = token // columns, token % columns
    listeners, speakers = [], []
    for down, right in RING:
        there = (row + down >= 0) & (row + down < rows) & (column + right >= 0) & (column + right < columns)
        listeners.append(token[there])
        speakers.append(token[there] + down * columns + right)
    listener, speaker = torch.cat(listeners), torch.cat(speakers)
    say = voices[speaker]
    if colours is not None:
        apart = (colours[listener] - colours[speaker]).square().sum(-1)
        say = say * torch.exp(-0.5 * apart / SAME_COLOUR**2).to(say.dtype)
    total = torch.zeros_like(voices).index_add_(0, listener, say)
    share = say / total[listener].clamp(min=torch.finfo(say.dtype).tiny)
    size = (len(token), len(token))
    return torch.sparse_coo_tensor(torch.stack([listener, speaker]), share, size, check_invariants=False)
