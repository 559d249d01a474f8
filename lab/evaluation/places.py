"""The correspondence drawn: every place of the reference has a colour, and the target wears the colours it matched."""

import numpy as np
from numpy.typing import NDArray

from lab.metrics.matches import Scalar
from lab.metrics.regions import Bytes

CORNERS = np.array([[[226, 62, 62], [242, 214, 72]], [[52, 84, 214], [58, 188, 96]]], np.float64)
"""Colours of the corners of the reference figure's box: top left and right, bottom left and right."""
SHADE = 0.35
"""Weight of the picture's own lightness, so that its parts stay to be seen."""
NOWHERE = np.uint8(225)


def place_colours(part: Bytes) -> NDArray[np.float64]:
    """A colour for every pixel `[height, width, 3]`, blended between the corners of the figure's box."""
    rows, columns = np.nonzero(part) if part.any() else np.indices(part.shape).reshape(2, -1)
    y = _within(np.arange(part.shape[0]), rows)[:, None, None]
    x = _within(np.arange(part.shape[1]), columns)[None, :, None]
    top, bottom = ((1.0 - x) * CORNERS[row, 0] + x * CORNERS[row, 1] for row in (0, 1))
    blended: NDArray[np.float64] = (1.0 - y) * top + y * bottom
    return blended


def draw_places(image: Bytes, part: Bytes, colours: NDArray[np.float64]) -> Bytes:
    """A figure in the colours given for its pixels, over its own light and dark."""
    light = image.mean(axis=-1, keepdims=True)
    mixed = np.rint((1.0 - SHADE) * colours + SHADE * light).astype(np.uint8)
    drawn: Bytes = np.where((part > 0)[..., None], mixed, NOWHERE)
    return drawn


def values_at(places: NDArray[np.float64], picture: NDArray[Scalar]) -> NDArray[Scalar]:
    """The values of a picture `[height, width, channels]` at places (x, y) `[..., 2]`, fractions of its sides."""
    height, width = picture.shape[:2]
    row = (places[..., 1] * height).astype(np.int64).clip(0, height - 1)
    column = (places[..., 0] * width).astype(np.int64).clip(0, width - 1)
    found: NDArray[Scalar] = picture[row, column]
    return found


def _within(coordinate: NDArray[np.int64], taken: NDArray[np.int64]) -> NDArray[np.float64]:
    low, high = int(taken.min()), int(taken.max())
    share: NDArray[np.float64] = np.clip((coordinate - low) / max(high - low, 1), 0.0, 1.0)
    return share
