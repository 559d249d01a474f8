"""Places, tokens, affine maps and crop windows.

A *place* is (x, y). Of a picture or canvas it is a fraction of width and height, 0 to 1 from its left and top; of a
token grid it is counted in tokens, the first token's centre at (0.5, 0.5). Grids are (rows, columns), and tokens are
numbered in reading order.

Features of diffusion networks and vision transformers keep some of a figure's size, place and direction in the picture.
So masked figures are cropped to a square window before they are compared. A window is written as the affine map from
its places to those of the canvas behind it, both as fractions.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from core.types import ImageMask

CROP_FILL = 0.9
"""Share of a window's side that the longer side of the figure takes."""
MAX_MAGNIFICATION = 4.0
"""Figures are magnified at most by this factor, along a side."""
STRIP_PX = 1024 * 1024
"""Pixels of a large image that are worked on at once."""


def extent(size: tuple[int, int], like: Tensor) -> Float[Tensor, "2"]:
    """(columns, rows) of a grid or (width, height) of a picture: factors from fractions (x, y) to tokens or pixels, of
    the dtype and on the device of `like`."""
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
        """The composition: `first`, then this map."""
        return AffineMap(self.linear @ first.linear, self(first.offset))

    def inverse(self) -> "AffineMap":
        """The way back. Raises torch.linalg.LinAlgError where `linear` is singular."""
        back = torch.linalg.inv(self.linear)
        return AffineMap(back, -(back @ self.offset))

    def to(self, like: Tensor) -> "AffineMap":
        """Of the dtype and on the device of `like`."""
        return AffineMap(self.linear.to(like), self.offset.to(like))

    def rescaled(self, here: Float[Tensor, "2"], there: Float[Tensor, "2"]) -> "AffineMap":
        """The same map where the planes are measured in other units: an old one (x, y) is so many new ones."""
        return AffineMap(self.linear * there[:, None] / here, self.offset * there)


WHOLE = AffineMap(torch.eye(2), torch.zeros(2))
"""The canvas itself."""


def token_weights(mask: Float[Tensor, "height width"], grid: tuple[int, int]) -> Float[Tensor, " tokens"]:
    """Share of every token's area that the mask (weights 0 to 1) covers, 0 to 1."""
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


def unit_range(
    image: Float[Tensor, "channels height width"] | UInt8[Tensor, "channels height width"],
) -> Float[Tensor, "channels height width"]:
    """An image as 0 to 1."""
    return image.float().div_(255.0) if image.dtype == torch.uint8 else image


def resize_image(
    image: Float[Tensor, "channels height width"] | UInt8[Tensor, "channels height width"], size: tuple[int, int]
) -> Float[Tensor, "channels new_height new_width"]:
    """As `resize`, of an image that may be in bytes, which are never all turned into floating point at once."""
    height, width = image.shape[1], image.shape[2]
    if image.dtype != torch.uint8:
        return resize(image, size)
    rows = max(1, STRIP_PX // width)
    return resize_strips((unit_range(image[:, top : top + rows]) for top in range(0, height, rows)), size)


def resize_strips(
    strips: Iterable[Float[Tensor, "channels _strip_height width"]], size: tuple[int, int]
) -> Float[Tensor, "channels new_height new_width"]:
    """As `resize`, of a picture that comes in strips of rows from top to bottom: each to its new width, then all to
    their new height."""
    narrow = [_interpolated(strip, (strip.shape[1], size[1])) for strip in strips]
    return _interpolated(torch.cat(narrow, dim=1), size).clamp(0.0, 1.0)


def _interpolated(
    picture: Float[Tensor, "channels height width"], size: tuple[int, int]
) -> Float[Tensor, "channels new_height new_width"]:
    if (picture.shape[1], picture.shape[2]) == size:
        return picture
    return F.interpolate(picture[None], size=size, mode="bicubic", align_corners=False, antialias=True)[0]


def resize(
    picture: Float[Tensor, "channels height width"], size: tuple[int, int]
) -> Float[Tensor, "channels new_height new_width"]:
    """Bicubic, low-passed when shrinking, kept within 0..1."""
    if (picture.shape[1], picture.shape[2]) == size:
        return picture
    return _interpolated(picture, size).clamp(0.0, 1.0)


def shrink_mask(mask: ImageMask, size: tuple[int, int]) -> Float[Tensor, "rows columns"]:
    """The share of every position of a coarser grid that the mask covers."""
    return F.interpolate(mask[None, None], size=size, mode="area")[0, 0]


def crop_window(mask: Float[Tensor, "height width"]) -> AffineMap:
    """The square window in whose middle the masked figure lies; around the whole canvas where the mask covers it."""
    height, width = mask.shape
    inside = mask >= mask.max().clamp(max=0.5)
    rows, columns = torch.nonzero(inside.any(1))[:, 0], torch.nonzero(inside.any(0))[:, 0]
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    fill = 1.0 if bool(inside.all()) else CROP_FILL
    side = (torch.maximum(bottom - top, right - left) / fill).clamp(min=(height * width) ** 0.5 / MAX_MAGNIFICATION)
    linear = torch.diag(side / extent((height, width), mask))
    middle = torch.stack([left + right, top + bottom]) / 2.0 / extent((height, width), mask)
    return AffineMap(linear, middle - linear.sum(1) / 2.0)


def mirrored(window: AffineMap) -> AffineMap:
    """The same window, flipped left to right."""
    return window.after(AffineMap(torch.diag(torch.tensor([-1.0, 1.0])), torch.tensor([1.0, 0.0])).to(window.linear))


def crop(
    window: AffineMap, plane: Float[Tensor, "channels height width"], size: tuple[int, int], *, beyond: str
) -> Float[Tensor, "channels window_height window_width"]:
    """A picture, a mask or a plane of features through a window, sampled bilinearly at `size` (rows, columns). Beyond
    the plane: its `border`, or `zeros`."""
    places = token_places(size, plane) / extent(size, plane)
    grid = (window.to(plane)(places) * 2.0 - 1.0).unflatten(0, size)
    return F.grid_sample(plane[None], grid[None], padding_mode=beyond, align_corners=False)[0]
