"""Windows onto photographs and cut-outs, held in memory at one size: what figures and backgrounds are made of."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import label
from torch import Tensor

from lab.photographs.make.sources import smooth_outline

SIDE_PX = 160
"""Of windows and cut-outs."""
SHARES = (0.25, 1.0)
"""Of a photograph's shorter side that a window takes."""
LEAST_CONTRAST = 6.0
"""Standard deviation of levels below which a window shows nothing, and is drawn again."""
OPAQUE = 128
"""Level of alpha from which a pixel of a cut-out counts."""
HELD_OUT = 8
"""Every so many-th picture is held out, for validation."""

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Pool:
    """Pictures `[number, side, side, ...]`."""

    windows: Bytes
    """sRGB."""
    cutouts: Bytes
    """sRGB and alpha, each as large as it may be."""
    outlines: Bytes
    """Alpha of smooth random figures."""


def open_pool(folder: Path, windows: int, seed: int, *, held_out: bool = False) -> Pool:
    """So many windows onto the pictures of a folder, by `lab.train.photographs.sources`, and all its cut-outs; of the
    pictures that are held out, or of the others."""
    paths = [p for number, p in enumerate(sorted(folder.glob("*.png"))) if (number % HELD_OUT == 0) == held_out]
    rng = np.random.default_rng(seed)
    opaque, cutouts = [], []
    for path in paths:
        picture = Image.open(path)
        if picture.mode == "RGBA":
            cutouts.append(_cut_out(picture))
        else:
            opaque.append(picture.copy())
    drawn = (_window(opaque[number % len(opaque)], rng) for number in range(windows))
    outlines = (_outline(rng) for _ in range(max(16, windows // 8)))
    return Pool(_stack(drawn, 3), _stack(cutouts, 4), np.stack(list(outlines)))


def kept_pool(path: Path, make: Callable[[], Pool]) -> Pool:
    """The pool of a file, or, at the first time, a new one, which is put there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path.with_suffix(".part.npz"), **vars(make()))
        path.with_suffix(".part.npz").replace(path)
    with np.load(path) as planes:
        return Pool(planes["windows"], planes["cutouts"], planes["outlines"])


def as_planes(pictures: Bytes) -> Tensor:
    """Pictures `[number, height, width, channels]` as planes `[number, channels, height, width]`, 0..1."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255.0


def _stack(pictures: Iterable[Bytes], channels: int) -> Bytes:
    """`[number, side, side, channels]`, of none too."""
    whole = [np.zeros((0, SIDE_PX, SIDE_PX, channels), np.uint8), *(picture[None] for picture in pictures)]
    return np.concatenate(whole)


def _window(picture: Image.Image, rng: np.random.Generator) -> Bytes:
    """A random square of a photograph, any way round."""
    while True:
        side = min(picture.size) * float(rng.uniform(*SHARES))
        left, top = (float(rng.uniform(0.0, length - side)) for length in picture.size)
        box = (left, top, left + side, top + side)
        window = np.asarray(picture.resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR, box))
        if window.std() >= LEAST_CONTRAST:
            return window[:, ::-1] if rng.uniform() < 0.5 else window


def _cut_out(picture: Image.Image) -> Bytes:
    """The largest piece of what is opaque, in the middle of a transparent square."""
    pieces, _ = label(np.asarray(picture.getchannel("A")) >= OPAQUE)
    largest = pieces == 1 + int(np.bincount(pieces.ravel())[1:].argmax())
    rows, columns = np.nonzero(largest)
    box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    planes = np.asarray(picture).copy()
    planes[..., 3][~largest] = 0
    figure = Image.fromarray(planes).crop(box)
    scale = SIDE_PX / max(figure.size)
    figure = figure.resize((max(1, round(figure.width * scale)), max(1, round(figure.height * scale))))
    square = Image.new("RGBA", (SIDE_PX, SIDE_PX))
    square.paste(figure, ((SIDE_PX - figure.width) // 2, (SIDE_PX - figure.height) // 2))
    return np.asarray(square)


def _outline(rng: np.random.Generator) -> Bytes:
    alpha = smooth_outline(round(0.95 * SIDE_PX), rng)
    square = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    top, left = ((SIDE_PX - length) // 2 for length in alpha.shape)
    square[top : top + alpha.shape[0], left : left + alpha.shape[1]] = np.rint(alpha * 255.0)
    return square
