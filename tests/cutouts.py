"""Small cut-outs and photographs by code, to make pairs of."""

from pathlib import Path

import numpy as np
from PIL import Image


def draw_sources(folder: Path, photograph_px: tuple[int, int] = (120, 90)) -> tuple[Path, Path]:
    """Folders of two cut-outs, one of them deeper down, and of two photographs `(width, height)`."""
    cutouts, photographs = folder / "cutouts", folder / "photographs"
    (cutouts / "deeper").mkdir(parents=True)
    photographs.mkdir()
    rng = np.random.default_rng(7)
    rows, columns = np.indices((60, 80))
    shapes = {
        "deeper/blob": np.hypot((rows - 30) / 26, (columns - 38) / 36) < 1.0,
        "corner": (rows + 2 * columns < 150) & (rows > 4),
    }
    for name, inside in shapes.items():
        colours = np.stack([rows * 4, columns * 3, 255 - rows * 2 - columns], axis=-1)
        noise = rng.integers(0, 9, colours.shape)
        planes = np.dstack([np.clip(colours + noise, 0, 255), inside * 255]).astype(np.uint8)
        Image.fromarray(planes).save(cutouts / f"{name}.png")
    Image.new("RGBA", (60, 60), (9, 9, 9, 255)).save(cutouts / "opaque.png")
    Image.new("RGB", (60, 60)).save(cutouts / "no-alpha.png")
    width, height = photograph_px
    for number in range(2):
        waves = np.sin(np.arange(height)[:, None] / (9.0 + number)) + np.cos(np.arange(width)[None, :] / 7.0)
        picture = np.stack([waves * 60 + 128, waves * 40 + 90 * number, 200 - waves * 50], axis=-1)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(photographs / f"{number}.jpg", quality=90)
    return cutouts, photographs
