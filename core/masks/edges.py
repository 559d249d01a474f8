"""Masks of a network's coarse grid along the edges of a picture, at the picture's full size and in bounded memory.

The guided filter (He, Sun, Tang, ECCV 2010) explains the mask in every window as an affine function of the picture's
colours, with coefficients fitted to a reduced picture (He and Sun, Fast Guided Filter, arXiv 1505.00996): only their
means are brought to full size, and applied there strip by strip.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from core.images.canvas import working_size
from core.images.geometry import STRIP_PX, resize_image, unit_range

Pixels = Float[Tensor, "3 height width"] | UInt8[Tensor, "3 height width"]
FIT_SIDE_PX = 512
"""Side of the square whose area the reduced picture has at most."""
RADIUS_PX = 6
"""Of the windows, in pixels of the reduced picture."""
SMOOTHNESS = 1e-3
"""Variance of colours, 0 to 1 squared, from which an edge counts."""


def follow_edges(coarse: Float[Tensor, "rows columns"], picture: Pixels) -> Float[Tensor, "height width"]:
    """The mask, weights 0 to 1, at the picture's size, its outline where the picture has an edge nearby."""
    height, width = picture.shape[1:]
    small_enough = height * width <= FIT_SIDE_PX**2
    fit = (height, width) if small_enough else working_size(height, width, resolution=FIT_SIDE_PX, multiple=1)
    small = resize_image(picture, fit)
    mask = F.interpolate(coarse[None, None].float(), size=fit, mode="bilinear", align_corners=False)
    slopes, offset = _fitted(mask, small[None])
    follows = torch.empty(height, width, device=picture.device)
    rows = max(1, STRIP_PX // width)
    for top in range(0, height, rows):
        strip = unit_range(picture[:, top : top + rows])
        planes = [_rows_of(plane, (height, width), top, strip.shape[1]) for plane in (slopes, offset)]
        follows[top : top + rows] = ((planes[0] * strip).sum(0) + planes[1][0]).clamp(0.0, 1.0)
    return follows


def _fitted(mask: Tensor, picture: Tensor) -> tuple[Tensor, Tensor]:
    """Slopes `[1, 3, rows, columns]` and offset `[1, 1, rows, columns]`, equations 19 and 20 of the guided filter."""
    mean, mask_mean = _box(picture), _box(mask)
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    products = torch.cat([picture[:, i : i + 1] * picture[:, j : j + 1] for i, j in pairs], dim=1)
    spread = _box(products) - torch.cat([mean[:, i : i + 1] * mean[:, j : j + 1] for i, j in pairs], dim=1)
    rows = torch.stack([spread[0, [0, 1, 2]], spread[0, [1, 3, 4]], spread[0, [2, 4, 5]]]).permute(2, 3, 0, 1)
    together = (_box(picture * mask) - mean * mask_mean)[0].permute(1, 2, 0)
    slopes = torch.linalg.solve(rows + SMOOTHNESS * torch.eye(3, device=rows.device), together).permute(2, 0, 1)[None]
    offset = mask_mean - (slopes * mean).sum(1, keepdim=True)
    return _box(slopes), _box(offset)


def _box(planes: Tensor) -> Tensor:
    """Means over square windows, of what lies in the picture."""
    radius = min(RADIUS_PX, (min(planes.shape[2:]) - 1) // 2)
    side = 2 * radius + 1
    along = F.avg_pool2d(planes, (1, side), 1, (0, radius), count_include_pad=False)
    return F.avg_pool2d(along, (side, 1), 1, (radius, 0), count_include_pad=False)


def _rows_of(planes: Tensor, size: tuple[int, int], top: int, rows: int) -> Tensor:
    """Some rows of planes `[1, channels, rows, columns]` as if enlarged to `size`, bilinearly."""
    y = (torch.arange(top, top + rows, device=planes.device) + 0.5) / size[0] * 2.0 - 1.0
    x = (torch.arange(size[1], device=planes.device) + 0.5) / size[1] * 2.0 - 1.0
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]
    return F.grid_sample(planes, grid, padding_mode="border", align_corners=False)[0]
