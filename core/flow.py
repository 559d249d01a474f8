"""From one matched token per token to a place for every position between them.

A token map is quantised to token centres and knows nothing of rotation, scale or mirroring. Around every token we fit
an affine map to the matches of its coherent neighbours (weighted least squares, drawn towards the plain copy where few
neighbours agree), and read places inside the token off that map.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from core.match import TokenMap

COHERENT_WITHIN = 3.0
"""Tokens. Neighbours whose matches lie farther apart than this belong to different surfaces."""
PLAIN_COPY_WEIGHT = 0.1
"""Weight of the prior, in neighbours, with which the fit is drawn towards an undistorted copy."""


def dense_flow(
    token_map: TokenMap, inside: Bool[Tensor, " tokens"], size: tuple[int, int]
) -> Float[Tensor, "height width 2"]:
    """For every position of a grid of `size`, its place (x, y) in the reference, each -1 to 1 as `grid_sample` wants.

    `inside` marks the tokens whose matches may be believed; others have no say in their neighbours' fits.
    """
    rows, columns = token_map.grid
    places = token_map.positions() * torch.tensor([columns, rows], device=token_map.index.device)
    neighbour_places, offsets, known = _neighbours(
        places.unflatten(0, (rows, columns)), inside.unflatten(0, (rows, columns))
    )
    moved = neighbour_places - places
    weight = (known & (moved.norm(dim=-1) <= COHERENT_WITHIN)).to(places.dtype)
    weight[offsets.abs().sum(-1) == 0] = 1.0
    centre, slope = _fit(moved, offsets, weight)
    places, slope = _extend(places + centre, slope, weight.sum(0) * inside, inside, token_map.grid, offsets)

    height, width = size
    y = (torch.arange(height, device=places.device, dtype=places.dtype) + 0.5) * rows / height
    x = (torch.arange(width, device=places.device, dtype=places.dtype) + 0.5) * columns / width
    parent = y.long()[:, None] * columns + x.long()[None, :]
    within = torch.stack(torch.meshgrid(x - x.floor() - 0.5, y - y.floor() - 0.5, indexing="xy"), dim=-1)
    place = places[parent] + torch.einsum("hwij,hwj->hwi", slope[parent], within)
    return place / torch.tensor([columns, rows], device=places.device) * 2.0 - 1.0


def _extend(
    places: Float[Tensor, "tokens 2"],
    slope: Float[Tensor, "tokens 2 2"],
    support: Float[Tensor, " tokens"],
    inside: Bool[Tensor, " tokens"],
    grid: tuple[int, int],
    offsets: Float[Tensor, "nine 2"],
) -> tuple[Float[Tensor, "tokens 2"], Float[Tensor, "tokens 2 2"]]:
    """Tokens on the mask's rim, which may not be believed, continue the map of their best supported neighbour."""
    rows, columns = grid
    index = torch.arange(rows * columns, device=places.device).unflatten(0, grid)
    windows = F.pad(index[None, None].to(places.dtype), (1, 1, 1, 1), mode="replicate")
    around = F.unfold(windows, 3)[0].long()
    best = support[around].argmax(dim=0)
    donor = around.gather(0, best[None])[0]
    step = -offsets[best]
    continued = places[donor] + torch.einsum("tij,tj->ti", slope[donor], step)
    return torch.where(inside[:, None], places, continued), torch.where(inside[:, None, None], slope, slope[donor])


def _neighbours(
    places: Float[Tensor, "rows columns 2"], inside: Bool[Tensor, "rows columns"]
) -> tuple[Float[Tensor, "nine tokens 2"], Float[Tensor, "nine 2"], Bool[Tensor, "nine tokens"]]:
    """Matched places of the 3 x 3 tokens around each token, their offsets (x, y), and which may be believed."""
    padded = F.pad(places.permute(2, 0, 1), (1, 1, 1, 1))
    believed = F.pad(inside, (1, 1, 1, 1))
    rows, columns = inside.shape
    stacked, known, offsets = [], [], []
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            window = (slice(1 + dy, 1 + dy + rows), slice(1 + dx, 1 + dx + columns))
            stacked.append(padded[(slice(None), *window)].flatten(1).T)
            known.append(believed[window].flatten())
            offsets.append((float(dx), float(dy)))
    return torch.stack(stacked), torch.tensor(offsets, device=places.device, dtype=places.dtype), torch.stack(known)


def _fit(
    moved: Float[Tensor, "nine tokens 2"], offsets: Float[Tensor, "nine 2"], weight: Float[Tensor, "nine tokens"]
) -> tuple[Float[Tensor, "tokens 2"], Float[Tensor, "tokens 2 2"]]:
    """Weighted least squares `moved = centre + slope offset`, with `slope` drawn towards the identity."""
    ones = torch.ones_like(offsets[:, :1])
    design = torch.cat([ones, offsets], dim=1)
    prior = torch.diag(torch.tensor([1e-6, 2.0, 2.0], device=moved.device, dtype=moved.dtype)) * PLAIN_COPY_WEIGHT
    plain = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], device=moved.device, dtype=moved.dtype)
    normal = torch.einsum("nt,ni,nj->tij", weight, design, design) + prior
    right = torch.einsum("nt,ni,ntk->tik", weight, design, moved) + prior @ plain
    solution = torch.linalg.solve(normal, right)
    return solution[:, 0], solution[:, 1:].transpose(1, 2)
