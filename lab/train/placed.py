"""Scenes for models that divide a picture into patches: which part, and which place in it, every patch lies on.

Pictures are shown as the sampler shows them to its networks: mostly through a window that the figure fills
(`core.images.geometry`), moved, turned, sized, stretched and mirrored a little at random.
"""

import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from core.images.geometry import WHOLE, AffineMap, crop, crop_window, extent, token_places
from lab.scenes import PART_ID
from lab.train.dataset import SceneSet

PATCH = 8
PICTURE_SIZE = 128
WIDTH, LAYERS, HEADS = 128, 9, 4
"""Of the vision transformers that are trained on them."""
BATCH_SEED = 7
TOKENS = (PICTURE_SIZE // PATCH, PICTURE_SIZE // PATCH)
MEAN, SPREAD = 0.5, 0.5
"""Pixel values 0..1 are shifted and divided by these."""
WHOLE_SHARE = 0.2
"""Share of pictures that are shown whole: where no mask sets a figure apart there is no window around it."""
TURN, ZOOM, SHIFT = 0.25, 0.1, 0.05
"""How windows vary (standard deviations): radians, logarithm of their size, and share of their side."""
STRETCH = 0.08
"""Standard deviation of what stretches and shears windows: realigned references are moved by an affine map."""


@dataclass(frozen=True)
class PlacedBatch:
    """Pictures normalised, part ids and canonical coordinates at the patches' centres, and a caption for each."""

    pictures: Float[Tensor, "batch 3 side side"]
    parts: Int[Tensor, "batch tokens"]
    uv: Float[Tensor, "batch tokens 2"]
    captions: list[str]


class PlacedScenes:
    """Draws batches from a rendered set; the batch of a step depends on `(seed, step)` only."""

    def __init__(self, scenes: SceneSet, seed: int = BATCH_SEED, held_out: Collection[str] = ()) -> None:
        """Scenes with a part that is `held_out` are never drawn."""
        self._scenes = scenes
        self._seed = seed
        unseen = {PART_ID[name] for name in held_out}
        categories = np.array([category_of(caption) for caption in scenes.captions])
        groups = [np.flatnonzero(categories == category) for category in np.unique(categories)]
        self._groups = [group for group in groups if not unseen & set(np.unique(scenes.parts[group[:20]]).tolist())]

    def draw(self, step: int, count: int) -> PlacedBatch:
        """`count` scenes, every category equally often."""
        rng = np.random.default_rng((self._seed, step))
        chosen = _some(rng, self._groups, count)
        windows = [self._window(scene, rng) for scene in chosen]
        pictures, places = self._cropped(chosen, windows)
        parts, uv = zip(*(self._labels(scene, place) for scene, place in zip(chosen, places, strict=True)), strict=True)
        captions = [self._scenes.captions[scene] for scene in chosen]
        return PlacedBatch((pictures - MEAN) / SPREAD, torch.stack(parts), torch.stack(uv), captions)

    def _window(self, scene: int, rng: np.random.Generator) -> AffineMap:
        """A random window onto a scene."""
        mask = torch.from_numpy((self._scenes.parts[scene] > 0).astype(np.float32))
        window = WHOLE if rng.uniform() < WHOLE_SHARE or not bool(mask.any()) else crop_window(mask)
        angle, zoom = rng.normal(0.0, TURN), math.exp(rng.normal(0.0, ZOOM))
        turned = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        stretched = torch.eye(2) + torch.from_numpy(rng.normal(0.0, STRETCH, (2, 2))).float()
        flipped = torch.diag(torch.tensor([rng.choice([-1.0, 1.0]), 1.0], dtype=torch.float32))
        linear = zoom * turned @ stretched @ flipped
        middle = torch.tensor([0.5, 0.5])
        shift = torch.from_numpy(rng.normal(0.0, SHIFT, 2)).float()
        return window.after(AffineMap(linear, middle - linear @ middle + shift))

    def _cropped(self, chosen: list[int], windows: list[AffineMap]) -> tuple[Tensor, Tensor]:
        """Pictures `[batch, 3, side, side]` 0..1 behind the windows, and the places `[batch, tokens, 2]` of patches."""
        images = (self._scenes.images[scene].astype(np.float32) / 255.0 for scene in chosen)
        pictures = [torch.from_numpy(image).permute(2, 0, 1) for image in images]
        size = (PICTURE_SIZE, PICTURE_SIZE)
        seen = [crop(window, picture, size, beyond="border") for window, picture in zip(windows, pictures, strict=True)]
        tokens = token_places(TOKENS, seen[0]) / extent(TOKENS, seen[0])
        return torch.stack(seen), torch.stack([window(tokens) for window in windows])

    def _labels(self, scene: int, places: Tensor) -> tuple[Tensor, Tensor]:
        """Part ids and canonical coordinates at places; background beyond the picture."""
        parts, uv = self._scenes.parts[scene], self._scenes.uv[scene]
        column, row = (places * parts.shape[0]).floor().long().unbind(-1)
        within = (column >= 0) & (row >= 0) & (column < parts.shape[1]) & (row < parts.shape[0])
        row, column = row.clamp(0, parts.shape[0] - 1), column.clamp(0, parts.shape[1] - 1)
        part = torch.from_numpy(parts[row, column].astype(np.int64)) * within
        return part, torch.from_numpy(uv[row, column].astype(np.float32) / 100.0)


def category_of(caption: str) -> str:
    """What a caption is a picture of: "a bird with ..." or "a photo of a bird"."""
    words = caption.removeprefix("a photo of ").split()
    return words[1]


def _some(rng: np.random.Generator, groups: list[NDArray[np.int64]], count: int) -> list[int]:
    """Random members of the groups, each group as often as the others but for one."""
    order = rng.permutation(len(groups))
    return [int(rng.choice(groups[order[number % len(groups)]])) for number in range(count)]


def describe_input(folder: Path) -> None:
    """Writes `preprocessor_config.json`: what pictures have to be made into."""
    side = {"height": PICTURE_SIZE, "width": PICTURE_SIZE}
    recipe = {"image_mean": [MEAN] * 3, "image_std": [SPREAD] * 3, "size": side}
    (folder / "preprocessor_config.json").write_text(json.dumps(recipe, indent=1) + "\n")
