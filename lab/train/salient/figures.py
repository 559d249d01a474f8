"""Figures with their outlines, as composites are made of: cut-outs, and drawn scenes; any of them may be refilled."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lab.scenes import Domain, render, sample_scene

Floats = NDArray[np.float32]
SIDE = 256
"""Longest side of a figure in pixels."""
LEFT_OUT = ("00", "1f1e", "1f1f", "1f20", "1f21", "1f22", "1f23", "1f25", "2-", "3-", "2a")
"""What names of the cut-outs begin with that are flags and signs in squares, not things."""
SKIN_TONES = ("1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff")
LEAST_OPAQUE = 0.1


@dataclass(frozen=True)
class Figure:
    """A figure without its surroundings."""

    colours: Floats
    """`[3, height, width]`, 0 to 1; of any value where it is transparent."""
    alpha: Floats
    """`[height, width]`, 0 to 1."""


def read_figures(folder: Path) -> list[Figure]:
    """All cut-outs of a folder at any depth, but flags and signs and things that differ by a tone of skin only."""
    figures = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".webp")):
        if path.name.startswith(LEFT_OUT) or any(tone in path.name for tone in SKIN_TONES):
            continue
        with Image.open(path) as opened:
            if not opened.has_transparency_data:
                continue
            figure = from_picture(opened.convert("RGBA"))
        if figure is not None:
            figures.append(figure)
    return figures


def from_picture(picture: Image.Image) -> Figure | None:
    """An RGBA picture cut to its alpha's box, at SIDE pixels at most; None where hardly anything is opaque."""
    box = picture.getchannel("A").point(lambda value: 255 * (value > 25)).getbbox()
    if box is None:
        return None
    picture = picture.crop(box)
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    planes = np.asarray(picture, np.float32).transpose(2, 0, 1) / np.float32(255.0)
    if float((planes[3] > 0.9).mean()) < LEAST_OPAQUE or min(planes.shape[1:]) < 24:
        return None
    return Figure(planes[:3], planes[3])


def drawn_figures(count: int) -> list[Figure]:
    """Figures of the rendered scenes of the training domain's first seeds."""
    figures = []
    for seed in range(count):
        rendering = render(sample_scene(Domain.TRAINING, seed), SIDE)
        alpha = (rendering.part > 0).astype(np.uint8) * 255
        planes = np.dstack([rendering.image, alpha])
        figure = from_picture(Image.fromarray(planes, "RGBA"))
        if figure is not None:
            figures.append(figure)
    return figures


def refill(figure: Figure, texture: Floats, keep: float) -> Figure:
    """The outline of a figure filled with a photograph `[3, height, width]`, under a share of its own shading."""
    shading = figure.colours.mean(0, keepdims=True)
    shading = shading / max(float(shading[:, figure.alpha > 0.5].mean()), 0.1)
    filled: Floats = np.clip(texture * shading**keep, 0.0, 1.0)
    return Figure(filled, figure.alpha)


def choose(figures: Sequence[Figure], rng: np.random.Generator) -> Figure:
    """Any of them."""
    return figures[int(rng.integers(len(figures)))]
