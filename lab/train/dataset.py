"""The rendered training set: memory-mapped arrays in a folder, written once, resumable.

`images.npy` `[scenes, 128, 128, 3]` uint8; `parts.npy` `[scenes, 128, 128]` uint8, the part that each pixel shows;
`uv.npy` `[scenes, 128, 128, 2]` int8, canonical coordinates in hundredths; `captions.txt`, one line a scene.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lab.scenes import Domain, render, sample_scene, stream, training_caption


@dataclass(frozen=True)
class SceneSet:
    """The arrays of a rendered set; see the module's docstring."""

    images: NDArray[np.uint8]
    parts: NDArray[np.uint8]
    uv: NDArray[np.int8]
    captions: list[str]


def render_set(folder: Path, count: int, size: int, domain: Domain, processes: int = 1) -> SceneSet:
    """Renders scenes 0..count-1 of a domain into `folder`, or opens them where that is done already."""
    if not (folder / "captions.txt").exists():
        folder.mkdir(parents=True, exist_ok=True)
        shapes = {"images": (size, size, 3), "parts": (size, size), "uv": (size, size, 2)}
        for name, shape in shapes.items():
            dtype = np.int8 if name == "uv" else np.uint8
            np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, (count, *shape)).flush()
        blocks = [(folder, first, min(first + 100, count), size, domain) for first in range(0, count, 100)]
        # Spawned: a fork would inherit torch's threads and this process's signal handlers.
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            captions = [line for block in pool.map(_render_block, blocks) for line in block]
        unfinished = folder / "captions.part"
        unfinished.write_text("\n".join(captions))
        unfinished.replace(folder / "captions.txt")
    return open_set(folder)


def open_set(folder: Path) -> SceneSet:
    """Maps a finished set into memory, read-only."""
    images, parts, uv = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("images", "parts", "uv"))
    return SceneSet(images, parts, uv, (folder / "captions.txt").read_text().split("\n"))


def _render_block(block: tuple[Path, int, int, int, Domain]) -> list[str]:
    """Renders scenes `first..last-1` into the open arrays and returns their captions."""
    folder, first, last, size, domain = block
    images, parts, uv = (np.load(folder / f"{name}.npy", mmap_mode="r+") for name in ("images", "parts", "uv"))
    captions = []
    for seed in range(first, last):
        scene = sample_scene(domain, seed)
        rendering = render(scene, size)
        images[seed] = rendering.image
        parts[seed] = rendering.part
        uv[seed] = np.clip(np.rint(rendering.uv * 100.0), -127, 127)
        captions.append(training_caption(scene, stream(domain, seed, "caption")))
    return captions
