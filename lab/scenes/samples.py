"""The sample pairs of the documentation: `python -m lab.scenes.samples --out docs/samples`.

They come from a seed domain of their own, so no measurement ever sees them. Every pair is a target, a reference, a
mask of each, and the truth: the target's scene wearing the reference's looks.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from lab.scenes.parts import Category
from lab.scenes.render import Rendering, render
from lab.scenes.scene import sample_scene
from lab.scenes.seeds import Domain

PAIRS: dict[str, tuple[Category, int, int]] = {
    "bird": (Category.BIRD, 21, 14),
    "fish": (Category.FISH, 17, 15),
    "car": (Category.CAR, 21, 14),
}
"""Name: category, seed of the target, seed of the reference."""


def write_pair(folder: Path, name: str, size: int) -> None:
    """Writes the five pictures of one pair."""
    category, target_seed, reference_seed = PAIRS[name]
    target, reference = (sample_scene(Domain.SAMPLES, seed, category) for seed in (target_seed, reference_seed))
    for role, scene in (("target", target), ("reference", reference)):
        rendering = render(scene, size)
        Image.fromarray(rendering.image).save(folder / f"{name}-{role}.png", optimize=True)
        mask_picture(rendering).save(folder / f"{name}-{role}-mask.png", optimize=True)
    truth = render(target.wearing(reference), size)
    Image.fromarray(truth.image).save(folder / f"{name}-truth.png", optimize=True)


def mask_picture(rendering: Rendering) -> Image.Image:
    """The figure's mask: white where at least half of a pixel shows it."""
    return Image.fromarray(np.where(rendering.coverage >= 0.5, 255, 0).astype(np.uint8))


def main() -> None:
    """Writes all pairs."""
    parser = argparse.ArgumentParser(prog="python -m lab.scenes.samples")
    parser.add_argument("--out", type=Path, default=Path("docs/samples"))
    parser.add_argument("--size", type=int, default=256)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in PAIRS:
        write_pair(options.out, name, options.size)


if __name__ == "__main__":
    main()
