"""What pairs are made of: cut-outs, figures cut from large photographs, and photographs to set them on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
OPAQUE = 0.99
LEAST_OPAQUE = 0.15
"""Share of its box that a cut-out's opaque pixels have to fill."""
LEAST_SIDE_PX = 48
"""Of a cut-out's longer side; smaller ones are drawings of a few pixels."""
LARGE_PIXELS = 8_000_000
HARMONICS = range(2, 7)
"""Of an outline around its centre: two lobes to six."""
ROUGHNESS = 0.35
"""Amplitude of the second harmonic against the radius; higher ones are weaker by their number."""

Floats = NDArray[np.float32]


class BadSource(Exception):
    """A folder holds nothing that pairs can be made of; the message gives the reason."""


@dataclass(frozen=True)
class Figure:
    """A figure without its surroundings, cut to the box of its alpha."""

    colours: Floats
    """sRGB 0..1 `[height, width, 3]`; of any value where it is transparent."""
    alpha: Floats
    """`[height, width]`, 0..1."""

    def over(self, ground: Floats) -> Floats:
        """The figure on a picture of its size."""
        blended: Floats = ground + self.alpha[..., None] * (self.colours - ground)
        return blended


@dataclass(frozen=True)
class CutOut:
    """A figure as it lies in a file, cut to its box."""

    picture: Image.Image
    """RGBA."""

    def scaled(self, side: int) -> Figure:
        """The figure with a longer side of so many pixels."""
        scale = side / max(self.picture.size)
        size = (max(8, round(self.picture.width * scale)), max(8, round(self.picture.height * scale)))
        planes = np.asarray(self.picture.resize(size, Image.Resampling.LANCZOS), np.float32) / np.float32(255.0)
        return Figure(planes[..., :3], planes[..., 3])


def find_cutouts(folder: Path) -> list[Path]:
    """PNGs with transparency at any depth of a folder, by name. Raises BadSource."""
    found = []
    for path in sorted(folder.rglob("*.png")):
        with Image.open(path, formats=("PNG",)) as picture:
            transparent = "A" in picture.getbands() or "transparency" in picture.info
            if transparent and max(picture.size) >= LEAST_SIDE_PX:
                found.append(path)
    if not found:
        raise BadSource(f"{folder} has no PNG with transparency of {LEAST_SIDE_PX} pixels and more")
    return found


def read_cutouts(paths: Sequence[Path], rng: np.random.Generator) -> Iterator[CutOut]:
    """The cut-outs in random order, again and again; those that are hardly opaque, or transparent nowhere, are left
    out. Raises BadSource where none is left."""
    while True:
        any_left = False
        for number in rng.permutation(len(paths)):
            cutout = _read_cutout(paths[number])
            if cutout is not None:
                any_left = True
                yield cutout
        if not any_left:
            raise BadSource("none of the PNGs shows an opaque figure on a transparent ground")


def _read_cutout(path: Path) -> CutOut | None:
    with Image.open(path) as opened:
        picture = opened.convert("RGBA")
    alpha = picture.getchannel("A")
    box = alpha.getbbox()
    if box is None or alpha.getextrema()[0] == 255:
        return None
    opaque = (np.asarray(alpha.crop(box)) == 255).mean()
    return CutOut(picture.crop(box)) if opaque >= LEAST_OPAQUE else None


def find_photographs(folder: Path, least_pixels: int = 0, least_side: int = 0) -> list[Path]:
    """Pictures at any depth of a folder with so many pixels and so long a shorter side, by name. Raises BadSource."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES):
        try:
            with Image.open(path) as picture:
                width, height = picture.size
        except UnidentifiedImageError:
            continue
        if width * height >= least_pixels and min(width, height) >= least_side:
            found.append(path)
    if not found:
        kind = f"of {least_pixels} pixels with sides of {least_side} and more" if least_pixels else "at all"
        raise BadSource(f"{folder} has no photograph {kind}")
    return found


def read_square(path: Path, side: int, rng: np.random.Generator) -> Floats:
    """A random square of a photograph, as large as it allows, at `side` pixels: `[side, side, 3]`, 0..1."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    whole = min(picture.size)
    left, top = (int(rng.integers(0, length - whole + 1)) for length in picture.size)
    square = picture.crop((left, top, left + whole, top + whole)).resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(square, np.float32) / np.float32(255.0)


def cut_figure(path: Path, side: int, rng: np.random.Generator) -> Figure:
    """A figure of a longer side of `side` pixels, cut by a smooth random outline from a photograph at its own size."""
    alpha = smooth_outline(side, rng)
    height, width = alpha.shape
    with Image.open(path) as opened:
        left, top = (int(rng.integers(0, room + 1)) for room in (opened.width - width, opened.height - height))
        piece = opened.convert("RGB").crop((left, top, left + width, top + height))
    return Figure(np.asarray(piece, np.float32) / np.float32(255.0), alpha)


def smooth_outline(side: int, rng: np.random.Generator) -> Floats:
    """The alpha of a star-shaped figure, `r(angle) = R (1 + sum of harmonics)`, in a box of longer side `side`."""
    amplitudes = {k: ROUGHNESS / k * rng.uniform(0.3, 1.0) for k in HARMONICS}
    phases = {k: rng.uniform(0.0, 2.0 * np.pi) for k in HARMONICS}

    def radius(angle: NDArray[np.float64]) -> NDArray[np.float64]:
        waves = np.stack([amplitudes[k] * np.cos(k * angle + phases[k]) for k in HARMONICS])
        return np.asarray(1.0 + waves.sum(axis=0))

    around = np.linspace(0.0, 2.0 * np.pi, 4096)
    x, y = radius(around) * np.cos(around), radius(around) * np.sin(around)
    scale = side / max(np.ptp(x), np.ptp(y))
    height, width = round(np.ptp(y) * scale), round(np.ptp(x) * scale)
    across = (np.arange(width) + 0.5) / scale + x.min()
    down = (np.arange(height) + 0.5) / scale + y.min()
    distance = np.hypot(across[None, :], down[:, None])
    beyond = distance - radius(np.arctan2(down[:, None], across[None, :]))
    alpha: Floats = np.clip(0.5 - beyond * scale, 0.0, 1.0).astype(np.float32)
    return alpha
