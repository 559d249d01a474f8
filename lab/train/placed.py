"""Scenes for models that look at a picture in patches: which part, and which place in it, every patch lies on.

The category that stays out of the auxiliary losses is never drawn.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.scenes import PART_ID
from lab.train.dataset import GRID, SceneSet
from lab.train.surface import HELD_OUT

PATCH = 8
PICTURE_SIZE = 128
TOKENS = PICTURE_SIZE // PATCH
MEAN, SPREAD = 0.5, 0.5
"""Pixel values 0..1 are shifted and divided by these."""
RELATED_SHARE = 0.25
"""Share of batches with two categories that have part names in common."""


@dataclass(frozen=True)
class PlacedBatch:
    """Pictures `[batch, 3, 128, 128]` normalised, part ids `[batch, 256]` and canonical coordinates
    `[batch, 256, 2]` at the patches' centres, and a caption for each."""

    pictures: Tensor
    parts: Tensor
    uv: Tensor
    captions: list[str]


class PlacedScenes:
    """Draws batches from a rendered set; the batch of a step depends on `(seed, step)` only."""

    def __init__(self, scenes: SceneSet, seed: int) -> None:
        self._scenes = scenes
        self._seed = seed
        categories = np.array([caption.split()[1] for caption in scenes.captions])
        groups = [np.flatnonzero(categories == category) for category in np.unique(categories)]
        self._members = [group for group in groups if not self._held_out(group)]
        named = [set(np.unique(scenes.parts[group[:200]])) - {0} for group in self._members]
        count = len(named)
        self._related = [(a, b) for a in range(count) for b in range(a + 1, count) if named[a] & named[b]]

    def _held_out(self, group: NDArray[np.int64]) -> bool:
        held_out = {PART_ID[name] for name in HELD_OUT}
        return bool(set(np.unique(self._scenes.parts[group[:200]])) & held_out)

    def draw(self, step: int, count: int) -> PlacedBatch:
        """`count` scenes of one category, or of two that share part names; moved by half a patch at random, so
        that the model reads between its patches as well."""
        rng = np.random.default_rng((self._seed, step))
        if self._related and rng.uniform() < RELATED_SHARE:
            pair = self._related[rng.integers(len(self._related))]
            chosen = np.concatenate([_some(rng, self._members[i], count // 2) for i in pair])
        else:
            chosen = _some(rng, self._members[rng.integers(len(self._members))], count)
        cell = PICTURE_SIZE // GRID
        down, right = rng.integers(-1, 2, size=2)
        rows = np.clip(np.arange(GRID) + down, 0, GRID - 1)
        columns = np.clip(np.arange(GRID) + right, 0, GRID - 1)
        y = np.clip(np.arange(PICTURE_SIZE) + down * cell, 0, PICTURE_SIZE - 1)
        x = np.clip(np.arange(PICTURE_SIZE) + right * cell, 0, PICTURE_SIZE - 1)
        images = np.stack([self._scenes.images[i] for i in chosen])[:, y][:, :, x]
        per_patch = GRID // TOKENS
        cells = np.ix_(rows[per_patch // 2 :: per_patch], columns[per_patch // 2 :: per_patch])
        parts = np.stack([self._scenes.parts[i][cells] for i in chosen]).astype(np.int64)
        uv = np.stack([self._scenes.uv[i][cells] for i in chosen]).astype(np.float32) / 100.0
        pictures = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255.0
        return PlacedBatch(
            (pictures - MEAN) / SPREAD,
            torch.from_numpy(parts).flatten(1),
            torch.from_numpy(uv).flatten(1, 2),
            [self._scenes.captions[i] for i in chosen],
        )


def _some(rng: np.random.Generator, members: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Random members; one may come twice where there are too few."""
    chosen: NDArray[np.int64] = rng.choice(members, count, replace=count > len(members))
    return chosen


def describe_input(folder: Path) -> None:
    """Writes `preprocessor_config.json`: what pictures have to be made into."""
    side = {"height": PICTURE_SIZE, "width": PICTURE_SIZE}
    recipe = {"image_mean": [MEAN] * 3, "image_std": [SPREAD] * 3, "size": side}
    (folder / "preprocessor_config.json").write_text(json.dumps(recipe, indent=1) + "\n")
