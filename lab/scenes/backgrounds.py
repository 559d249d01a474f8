"""Backgrounds, from flat to cluttered, as functions of a seed and a size."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from PIL import Image

from lab.scenes.outlines import Floats
from lab.scenes.palette import Colour, Swatch, any_swatch


class BackdropKind(StrEnum):
    """How busy a background is; the order is from flat to cluttered."""

    FLAT = "flat"
    GRADIENT = "gradient"
    HORIZON = "horizon"
    CLOUDY = "cloudy"
    TILED = "tiled"
    CLUTTERED = "cluttered"


@dataclass(frozen=True)
class Backdrop:
    """A background: its kind, two softened colours and the seed of its details."""

    kind: BackdropKind
    first: Swatch
    second: Swatch
    seed: int


def sample_backdrop(rng: np.random.Generator) -> Backdrop:
    """A random background in muted colours, so that the figure stands out more often than not."""
    kind = list(BackdropKind)[int(rng.choice(6, p=[0.15, 0.2, 0.2, 0.15, 0.12, 0.18]))]
    return Backdrop(kind, _muted(rng, any_swatch(rng)), _muted(rng, any_swatch(rng)), int(rng.integers(2**31)))


def draw_backdrop(backdrop: Backdrop, size: int) -> Floats:
    """sRGB `[size, size, 3]` in 0..1."""
    first, second = np.asarray(backdrop.first.rgb, np.float32), np.asarray(backdrop.second.rgb, np.float32)
    rng = np.random.Generator(np.random.PCG64(backdrop.seed))
    y, x = np.meshgrid(*(2 * (np.linspace(0.0, 1.0, size, dtype=np.float32),)), indexing="ij", sparse=True)
    match backdrop.kind:
        case BackdropKind.FLAT:
            share = np.zeros((size, size), np.float32)
        case BackdropKind.GRADIENT:
            angle = float(rng.uniform(0.0, 2.0 * np.pi))
            share = np.clip(0.5 + np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5), 0.0, 1.0)
        case BackdropKind.HORIZON:
            share = _hills(rng, x, y)
        case BackdropKind.CLOUDY:
            share = _clouds(rng, size)
        case BackdropKind.TILED:
            share = _tiles(rng, x, y)
        case BackdropKind.CLUTTERED:
            share = 0.6 * _clouds(rng, size)
    picture: Floats = first + share[..., None] * (second - first)
    if backdrop.kind is BackdropKind.CLUTTERED:
        _scatter(rng, picture, x, y)
    return picture


def _muted(rng: np.random.Generator, source: Swatch) -> Swatch:
    """The colour mixed with a random grey."""
    grey, share = float(rng.uniform(0.45, 0.95)), float(rng.uniform(0.25, 0.65))
    rgb: Colour = tuple(channel + share * (grey - channel) for channel in source.rgb)  # type: ignore[assignment]
    return Swatch(source.name, rgb)


def _hills(rng: np.random.Generator, x: Floats, y: Floats) -> Floats:
    """Sky above, ground below a wavy horizon; the ground brightens towards the viewer."""
    wave = rng.uniform(0.0, 0.05) * np.sin(x * rng.uniform(4.0, 12.0) + rng.uniform(0.0, 6.0))
    horizon = np.float32(rng.uniform(0.45, 0.8)) + wave.astype(np.float32)
    ground = np.clip((y - horizon) * 200.0, 0.0, 1.0)
    return np.where(y > horizon, ground * (0.75 + 0.25 * y), 0.35 * y).astype(np.float32)


def _clouds(rng: np.random.Generator, size: int) -> Floats:
    """Two octaves of smooth noise, 0..1."""
    total = np.zeros((size, size), np.float32)
    for knots, weight in ((4, 0.65), (10, 0.35)):
        lattice = Image.fromarray(rng.random((knots, knots), np.float32))
        total += np.float32(weight) * np.asarray(lattice.resize((size, size), Image.Resampling.BICUBIC))
    clouds: Floats = np.clip(1.6 * (total - 0.5) + 0.5, 0.0, 1.0)
    return clouds


def _tiles(rng: np.random.Generator, x: Floats, y: Floats) -> Floats:
    """Wallpaper: soft stripes or checks at half contrast."""
    angle, frequency = float(rng.uniform(0.0, np.pi)), float(rng.uniform(4.0, 9.0))
    across = np.sin(2 * np.pi * frequency * (np.cos(angle) * x + np.sin(angle) * y))
    if rng.uniform() < 0.5:
        across = across * np.sin(2 * np.pi * frequency * (np.cos(angle) * y - np.sin(angle) * x))
    tiles: Floats = (0.5 + 0.5 * np.clip(4.0 * across, -1.0, 1.0)).astype(np.float32)
    return tiles


def _scatter(rng: np.random.Generator, picture: Floats, x: Floats, y: Floats) -> None:
    """Draws 10 to 22 muted disks and slabs into the picture, in place."""
    size = picture.shape[0]
    for _ in range(int(rng.integers(10, 23))):
        cx, cy, radius = float(rng.uniform()), float(rng.uniform()), float(rng.uniform(0.04, 0.16))
        colour = np.asarray(_muted(rng, any_swatch(rng)).rgb, np.float32)
        aspect, angle = float(rng.uniform(0.4, 1.0)), float(rng.uniform(0.0, np.pi))
        power = 2.0 if rng.uniform() < 0.5 else 8.0
        rows = slice(max(0, int((cy - 1.5 * radius) * size)), int((cy + 1.5 * radius) * size) + 1)
        columns = slice(max(0, int((cx - 1.5 * radius) * size)), int((cx + 1.5 * radius) * size) + 1)
        dx, dy = x[:, columns] - cx, y[rows] - cy
        along = np.abs((np.cos(angle) * dx + np.sin(angle) * dy) / radius)
        across = np.abs((np.cos(angle) * dy - np.sin(angle) * dx) / (radius * aspect))
        inside = np.maximum(along, across) < 1.0 if power > 2.0 else along**2 + across**2 < 1.0
        picture[rows, columns][inside] = colour
