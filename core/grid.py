"""Places and tokens: which token of a grid a place lies on, and where tokens have their centres."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def extent(size: tuple[int, int], like: Tensor) -> Float[Tensor, "2"]:
    """Columns and rows, or width and height: what turns shares (x, y) into tokens or pixels."""
    return torch.tensor([size[1], size[0]], device=like.device, dtype=like.dtype)


def token_places(grid: tuple[int, int], like: Tensor) -> Float[Tensor, "tokens 2"]:
    """Centres (x, y) of all tokens, in tokens, in reading order; of the dtype and on the device of `like`."""
    y, x = (torch.arange(side, device=like.device, dtype=like.dtype) + 0.5 for side in grid)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)


def token_at(places: Float[Tensor, "*places 2"], grid: tuple[int, int]) -> Int[Tensor, "*places"]:
    """The token, in reading order, of `grid` (rows, columns) under every place (x, y), a fraction of the whole. Places
    beyond the border fall to the tokens along it."""
    rows, columns = grid
    column = (places[..., 0] * columns).long().clamp(0, columns - 1)
    row = (places[..., 1] * rows).long().clamp(0, rows - 1)
    return row * columns + column
