"""What figures are set on: crops of photographs, plain and graded surfaces, a table before a wall."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, zoom

from lab.train.salient.figures import Floats

LONGEST_PX = 640
PHOTOGRAPH, SPLIT, GRADED = 0.72, 0.15, 0.13
"""How often each kind of ground is drawn."""


def read_photographs(paths: Sequence[Path]) -> list[Floats]:
    """Photographs `[3, height, width]`, 0 to 1, at most LONGEST_PX long."""
    read = []
    for path in paths:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        picture.thumbnail((LONGEST_PX, LONGEST_PX), Image.Resampling.LANCZOS)
        if min(picture.size) >= 96:
            read.append((np.asarray(picture, np.float32) / np.float32(255.0)).transpose(2, 0, 1))
    return read


def draw_ground(photographs: Sequence[Floats], side: int, rng: np.random.Generator) -> Floats:
    """A square surrounding `[3, side, side]`, often out of focus."""
    kind = rng.choice(3, p=(PHOTOGRAPH, SPLIT, GRADED))
    if kind == 0:
        ground = crop(photographs, side, rng)
    elif kind == 1:
        ground = _split(photographs, side, rng)
    else:
        ground = _graded(side, rng)
        if rng.uniform() < 0.5:
            ground = ground * (1.0 + 0.5 * (crop(photographs, side, rng).mean(0, keepdims=True) - 0.5))
    if rng.uniform() < 0.4:
        ground = gaussian_filter(ground, (0.0, *([float(rng.uniform(0.5, 7.0))] * 2)))
    return np.asarray(ground, np.float32).clip(0.0, 1.0)


def crop(photographs: Sequence[Floats], side: int, rng: np.random.Generator) -> Floats:
    """A random square of a photograph, mirrored or turned now and then, with its colours shifted."""
    photograph = photographs[int(rng.integers(len(photographs)))]
    height, width = photograph.shape[1:]
    length = int(min(height, width) * rng.uniform(0.35, 1.0))
    top, left = int(rng.integers(height - length + 1)), int(rng.integers(width - length + 1))
    window = photograph[:, top : top + length, left : left + length]
    levels = Image.fromarray((window.transpose(1, 2, 0) * 255.0).astype(np.uint8)).resize((side, side))
    square = (np.asarray(levels, np.float32) / np.float32(255.0)).transpose(2, 0, 1)
    if rng.uniform() < 0.5:
        square = square[:, :, ::-1]
    if rng.uniform() < 0.15:
        square = np.rot90(square, int(rng.integers(1, 4)), (1, 2))
    return shift_colours(square, rng, 0.15)


def shift_colours(picture: Floats, rng: np.random.Generator, amount: float) -> Floats:
    """Another brightness, contrast and tint, and now and then other channels."""
    if rng.uniform() < amount:
        picture = picture[rng.permutation(3)]
    gamma, gain = np.exp(rng.normal(0.0, 0.25)), 1.0 + rng.normal(0.0, 0.12, (3, 1, 1))
    return np.asarray(picture.clip(0.0, 1.0) ** gamma * gain, np.float32).clip(0.0, 1.0)


def _split(photographs: Sequence[Floats], side: int, rng: np.random.Generator) -> Floats:
    """A wall or a distance above a floor or a table."""
    above, below = (crop(photographs, side, rng) if rng.uniform() < 0.6 else _graded(side, rng) for _ in range(2))
    if rng.uniform() < 0.6:
        above = gaussian_filter(above, (0.0, *([float(rng.uniform(1.0, 8.0))] * 2)))
    rows, columns = np.mgrid[:side, :side] / side
    line = rng.uniform(0.25, 0.8) + rng.normal(0.0, 0.1) * (columns - 0.5)
    share = np.clip((rows - line) * side / rng.uniform(1.0, 12.0) + 0.5, 0.0, 1.0)
    return np.asarray(above * (1.0 - share) + below * share, np.float32)


def _graded(side: int, rng: np.random.Generator) -> Floats:
    """From one colour to another like it, with clouds of either."""
    grey = rng.uniform(0.0, 1.0) ** 0.6
    first = np.clip(grey + rng.normal(0.0, 0.12, 3), 0.0, 1.0)
    second = np.clip(first + rng.normal(0.0, 0.15, 3), 0.0, 1.0)
    angle = rng.uniform(0.0, 2.0 * np.pi)
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    share = np.clip(np.cos(angle) * rows + np.sin(angle) * columns + 0.5, 0.0, 1.0)
    cells = int(rng.integers(3, 24))
    clouds = zoom(rng.normal(0.0, rng.uniform(0.0, 0.25), (cells, cells)), side / cells, order=1)[:side, :side]
    share = np.clip(share + clouds, 0.0, 1.0)
    ground = first[:, None, None] * (1.0 - share) + second[:, None, None] * share
    if rng.uniform() < 0.5:
        ground = ground + rng.normal(0.0, rng.uniform(0.0, 0.06), (1, side, side))
    return np.asarray(ground, np.float32).clip(0.0, 1.0)
