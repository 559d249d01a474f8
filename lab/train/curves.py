"""A loss log as a picture: one panel per column, log scale, no plotting library."""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

PANEL = (360, 200)
"""Width and height of one panel in pixels."""
MARGIN = 28


def draw_curves(log: Path, columns: tuple[str, ...], target: Path) -> None:
    """Draws the named columns of a CSV loss log over `step`, side by side."""
    with log.open() as stream:
        rows = list(csv.DictReader(stream))
    steps = np.array([float(row["step"]) for row in rows])
    canvas = Image.new("RGB", (PANEL[0] * len(columns), PANEL[1]), "white")
    for place, column in enumerate(columns):
        values = np.array([float(row[column]) for row in rows])
        _draw_panel(ImageDraw.Draw(canvas), place * PANEL[0], column, steps, values)
    canvas.save(target, optimize=True)


def _draw_panel(
    draw: ImageDraw.ImageDraw, left: int, title: str, steps: NDArray[np.float64], values: NDArray[np.float64]
) -> None:
    """One curve with its range written at the axes."""
    heights = np.log(np.maximum(values, 1e-9))
    low, high = float(heights.min()), float(heights.max())
    width, height = PANEL[0] - 2 * MARGIN, PANEL[1] - 2 * MARGIN
    x = left + MARGIN + width * (steps - steps[0]) / max(1.0, float(steps[-1] - steps[0]))
    y = MARGIN + height * (high - heights) / max(1e-9, high - low)
    draw.rectangle((left + MARGIN, MARGIN, left + MARGIN + width, MARGIN + height), outline="grey")
    draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=(30, 80, 180), width=2)
    draw.text((left + MARGIN, 6), f"{title}: {np.exp(high):.3g} to {values[-1]:.3g}", fill="black")
    draw.text((left + MARGIN, PANEL[1] - 18), f"steps {steps[0]:.0f} to {steps[-1]:.0f}, log scale", fill="black")
