"""The light on the figures of a rendered set, without their colours."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lab.scenes import Domain, render, sample_scene
from lab.scenes.palette import Swatch
from lab.scenes.textures import Texture

FILE = "shades.npy"
WHITE = Swatch("white", (1.0, 1.0, 1.0))


def open_shades(folder: Path, count: int, size: int) -> NDArray[np.uint8]:
    """The light `[count, size, size]` of scenes 0..count-1 of the training domain, as levels, mapped into memory;
    rendered into the set's folder where that is not done yet."""
    if not (folder / FILE).exists():
        unfinished = folder / "shades.part.npy"
        shades = np.lib.format.open_memmap(unfinished, "w+", np.uint8, (count, size, size))
        for seed in range(count):
            shades[seed] = shade_of(seed, size)
        shades.flush()
        unfinished.replace(folder / FILE)
    opened: NDArray[np.uint8] = np.load(folder / FILE, mmap_mode="r")
    return opened


def shade_of(seed: int, size: int) -> NDArray[np.uint8]:
    """Of one scene `[size, size]`: its picture with all parts in white."""
    scene = sample_scene(Domain.TRAINING, seed)
    white = {group: replace(looks, texture=Texture.PLAIN, first=WHITE) for group, looks in scene.appearances.items()}
    level: NDArray[np.uint8] = render(replace(scene, appearances=white), size).image[..., 1]
    return level
