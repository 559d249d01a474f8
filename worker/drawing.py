"""The correspondence as a picture: target and references side by side, matching places in one colour, and lines between
some of the pairs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from core.images.canvas import to_pil
from core.images.geometry import resize_image
from core.matching.correspondence import Matches

PANEL_HEIGHT_PX = 512
PANEL_WIDTH_MAX_PX = 1024
GAP_PX = 16
TINT = 0.6
"""Share of the colour in the drawing; the rest is the picture in grey."""
LINES_ACROSS = 5
"""Pairs joined by a line in each direction of the target."""
CORNERS = np.array([[[230, 60, 40], [250, 200, 40]], [[90, 60, 220], [30, 190, 120]]], dtype=np.float32)
"""Colours of the reference's corners; places between them have blends."""


def draw_matches(target: Tensor, references: Sequence[Tensor], matches: Matches) -> Image.Image:
    """RGB. Pictures are [channels, height, width], 0 to 1 or in bytes, as they were matched; one reference for each
    region.

    Each place of a reference has its own colour, and each token of the target the colour of the place that it
    matches. Outside the target's mask the target stays grey.
    """
    positions = matches.positions.nan_to_num(0.0).numpy()  # nothing is drawn where there is no match
    colours = _colours(positions[..., 0], positions[..., 1])
    left = _tinted(_panel(target), colours, matches.inside.numpy()[..., None] * TINT)
    x, y = np.meshgrid(np.linspace(0, 1, 64), np.linspace(0, 1, 64))
    everywhere = np.full((64, 64, 1), TINT)
    panels = [_tinted(_panel(reference), _colours(x, y), everywhere) for reference in references]
    height = max(panel.height for panel in (left, *panels))
    sheet = Image.new("RGB", (left.width + sum(GAP_PX + panel.width for panel in panels), height), "white")
    sheet.paste(left, (0, 0))
    boxes, edge = [], left.width
    for panel in panels:
        boxes.append((edge + GAP_PX, panel.width, panel.height))
        sheet.paste(panel, (edge + GAP_PX, 0))
        edge += GAP_PX + panel.width
    _draw_lines(sheet, left.size, boxes, matches, colours)
    return sheet


def _panel(picture: Tensor) -> Image.Image:
    """The picture in grey, at most PANEL_WIDTH_MAX_PX by PANEL_HEIGHT_PX pixels; transparent parts are white."""
    _, height, width = picture.shape
    scale = min(PANEL_HEIGHT_PX / height, PANEL_WIDTH_MAX_PX / width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    small = resize_image(picture, size)
    small = small if len(small) == 3 else small[:3] * small[3:] + 1.0 - small[3:]
    return to_pil((small.permute(1, 2, 0) * 255).round().byte()).convert("L").convert("RGB")


def _colours(x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.floating]:
    """One colour, 0 to 255, for each place given as fractions of the reference."""
    x, y = x[..., None], y[..., None]
    upper = CORNERS[0, 0] * (1 - x) + CORNERS[0, 1] * x
    lower = CORNERS[1, 0] * (1 - x) + CORNERS[1, 1] * x
    return np.asarray(upper * (1 - y) + lower * y)


def _tinted(panel: Image.Image, colours: NDArray[np.floating], shares: NDArray[np.floating]) -> Image.Image:
    layer = Image.fromarray(colours.round().astype(np.uint8)).resize(panel.size, Image.Resampling.NEAREST)
    grey = (shares[..., 0] * 255).round().astype(np.uint8)
    return Image.composite(layer, panel, Image.fromarray(grey).resize(panel.size, Image.Resampling.NEAREST))


def _draw_lines(
    sheet: Image.Image,
    left: tuple[int, int],
    boxes: Sequence[tuple[int, int, int]],
    matches: Matches,
    colours: NDArray[np.floating],
) -> None:
    """Between tokens of a coarse grid over the target and their matches. `boxes`: left edge, width and height of every
    region's reference."""
    rows, columns = matches.inside.shape
    draw = ImageDraw.Draw(sheet)
    for row in {int((step + 0.5) * rows / LINES_ACROSS) for step in range(LINES_ACROSS)}:
        for column in {int((step + 0.5) * columns / LINES_ACROSS) for step in range(LINES_ACROSS)}:
            if not matches.inside[row, column]:
                continue
            edge, width, height = boxes[int(matches.region[row, column])]
            x, y = (float(value) for value in matches.positions[row, column])
            start = ((column + 0.5) / columns * left[0], (row + 0.5) / rows * left[1])
            end = (edge + x * width, y * height)
            colour = tuple(int(value) for value in colours[row, column])
            draw.line([start, end], fill=colour, width=2)
            for centre in (start, end):
                draw.circle(centre, 5, fill=colour, outline="white", width=2)
