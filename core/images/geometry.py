"""Places and tokens: which token of a grid a place lies on, and where tokens have their centres."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from core.types import ImageMask


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


@dataclass(frozen=True)
class AffineMap:
    """Where places of one plane lie in another: `linear @ (x, y) + offset`."""

    linear: Float[Tensor, "2 2"]
    offset: Float[Tensor, "2"]

    def __call__(self, places: Float[Tensor, "*places 2"]) -> Float[Tensor, "*places 2"]:
        return places @ self.linear.T + self.offset

    def after(self, first: "AffineMap") -> "AffineMap":
        """This map of what `first` gives."""
        return AffineMap(self.linear @ first.linear, self(first.offset))

    def inverse(self) -> "AffineMap":
        back = torch.linalg.inv(self.linear)
        return AffineMap(back, -(back @ self.offset))

    def to(self, like: Tensor) -> "AffineMap":
        """Of the dtype and on the device of `like`."""
        return AffineMap(self.linear.to(like), self.offset.to(like))

    def rescaled(self, here: Float[Tensor, "2"], there: Float[Tensor, "2"]) -> "AffineMap":
        """The same map where the planes are measured in other units: an old one (x, y) is so many new ones."""
        return AffineMap(self.linear * there[:, None] / here, self.offset * there)


def token_weights(mask: Float[Tensor, "height width"], grid: tuple[int, int]) -> Float[Tensor, " tokens"]:
    """Share of every token's area that the mask covers, 0 to 1."""
    return F.interpolate(mask[None, None], size=grid, mode="area")[0, 0].flatten()


def token_mask(mask: Float[Tensor, "height width"], grid: tuple[int, int]) -> Bool[Tensor, " tokens"]:
    """Tokens that lie inside the mask: covered by half at least, or, where the mask is finer than every token, the
    ones covered most."""
    weight = token_weights(mask, grid)
    return weight >= weight.max().clamp(max=0.5)


def token_grid(latent_size: tuple[int, int], tokens: int) -> tuple[int, int]:
    """Rows and columns of a layer's tokens; the latent's sides are multiples of every layer's downsampling."""
    height, width = latent_size
    factor = round((height * width / tokens) ** 0.5)
    grid = (height // factor, width // factor)
    assert grid[0] * grid[1] == tokens, f"{tokens} tokens do not tile a latent of {height} x {width}"
    return grid


def resize(
    picture: Float[Tensor, "channels height width"], size: tuple[int, int]
) -> Float[Tensor, "channels new_height new_width"]:
    """Bicubic, low-passed when shrinking, kept within 0..1."""
    if (picture.shape[1], picture.shape[2]) == size:
        return picture
    scaled = F.interpolate(picture[None], size=size, mode="bicubic", align_corners=False, antialias=True)
    return scaled[0].clamp(0.0, 1.0)


def shrink_mask(mask: ImageMask, size: tuple[int, int]) -> Float[Tensor, "rows columns"]:
    """The share of every position of a coarser grid that the mask covers."""
    return F.interpolate(mask[None, None], size=size, mode="area")[0, 0]
