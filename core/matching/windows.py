"""Frames: how the networks look at the thing that a mask sets apart.

Features of diffusion networks and vision transformers keep some of a figure's size, place and direction in the picture.
So both figures are made to fill a square window before they are compared, and for a second look the reference is moved
onto the target by the affine map that the first look found (`core.matching.global_affine`). A frame is that window's
affine map onto
the canvas, both in shares of their sides.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from core.images.geometry import AffineMap, extent, token_at, token_places
from core.matching.correspondence import LocalMaps, TokenMap, place_tokens

AS_IT_IS = AffineMap(torch.eye(2), torch.zeros(2))
"""The canvas itself."""
FILL = 0.9
"""Share of the window's side that the longer side of the figure takes."""
MAGNIFIED = 4.0
"""Figures are magnified at most so much, along a side."""


def frame_around(mask: Float[Tensor, "height width"]) -> AffineMap:
    """The square window in whose middle the masked figure lies; around the whole canvas where the mask covers it."""
    height, width = mask.shape
    inside = mask >= mask.max().clamp(max=0.5)
    rows, columns = torch.nonzero(inside.any(1))[:, 0], torch.nonzero(inside.any(0))[:, 0]
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    fill = 1.0 if bool(inside.all()) else FILL
    side = (torch.maximum(bottom - top, right - left) / fill).clamp(min=(height * width) ** 0.5 / MAGNIFIED)
    linear = torch.diag(side / extent((height, width), mask))
    middle = torch.stack([left + right, top + bottom]) / 2.0 / extent((height, width), mask)
    return AffineMap(linear, middle - linear.sum(1) / 2.0)


def mirrored(frame: AffineMap) -> AffineMap:
    """The same window, seen from left to right."""
    return frame.after(AffineMap(torch.diag(torch.tensor([-1.0, 1.0])), torch.tensor([1.0, 0.0])).to(frame.linear))


def look_through(
    frame: AffineMap, canvas: Float[Tensor, "channels height width"], size: tuple[int, int], *, beyond: str
) -> Float[Tensor, "channels window_height window_width"]:
    """What a window of `size` shows of a picture, a mask or a plane of features. Beyond the canvas: its `border`, or
    `zeros`."""
    places = token_places(size, canvas) / extent(size, canvas)
    grid = (frame.to(canvas)(places) * 2.0 - 1.0).unflatten(0, size)
    return F.grid_sample(canvas[None], grid[None], padding_mode=beyond, align_corners=False)[0]


def on_canvas(
    found: TokenMap,
    here: AffineMap,
    there: AffineMap,
    grid: tuple[int, int],
    reference_mask: Bool[Tensor, " tokens"],
) -> TokenMap:
    """A map between two windows as one between the tokens, on `grid`, of the canvases behind them."""
    window, canvas = extent(found.grid, found.similarity), extent(grid, found.similarity)
    here, there = (frame.to(found.similarity).rescaled(window, canvas) for frame in (here, there))
    back = here.inverse()
    seen = back(token_places(grid, found.similarity))
    token = token_at(seen / window, found.grid)
    local = found.local_maps
    matched = there(local.at(token, seen))
    slopes = there.linear @ local.slopes[token] @ back.linear
    index, places = place_tokens(matched, grid, reference_mask)
    ranked = found.ranked
    if ranked is not None:
        ranked = token_at(there(token_places(found.grid, found.similarity)[ranked[token]]) / canvas, grid)
    return TokenMap(
        grid,
        index,
        found.similarity[token],
        None if found.confidence is None else found.confidence[token],
        ranked,
        None if found.shares is None else found.shares[token],
        LocalMaps(grid, places, slopes),
    )
