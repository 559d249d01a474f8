"""A growing store of examples with the frozen encoder's features, so that the decoder alone is computed again."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.models.efficientnet_lite import EfficientNetLite
from core.models.salient import halve
from lab.train.salient.composites import Example


@dataclass(frozen=True)
class Batch:
    """Inputs of the decoder and the truth."""

    features: list[Tensor]
    half: Tensor
    masks: Tensor
    """`[examples, 1, rows, columns]` at half the pictures' size, 0 to 1."""


class Store:
    """Examples in memory, in half precision; when it is full, the oldest go."""

    def __init__(self, encoder: EfficientNetLite, most: int) -> None:
        self._encoder = encoder
        self._most = most
        self._kept: list[tuple[list[Tensor], Tensor, Tensor]] = []
        self._next = 0

    def __len__(self) -> int:
        return len(self._kept)

    @torch.no_grad()
    def add(self, examples: list[Example]) -> None:
        """Encodes examples of one size."""
        pictures = to_tensor(np.stack([example.picture for example in examples]))
        masks = torch.from_numpy(np.stack([example.mask for example in examples]))[:, None].float() / 255.0
        features = [level.half() for level in self._encoder(pictures)[1:]]
        half, small = halve(pictures).half(), torch.nn.functional.avg_pool2d(masks, 2).half()
        for number in range(len(examples)):
            kept = ([level[number].clone() for level in features], half[number].clone(), small[number].clone())
            if len(self._kept) < self._most:
                self._kept.append(kept)
            else:
                self._kept[self._next % self._most] = kept
            self._next += 1

    def draw(self, count: int, rng: np.random.Generator) -> Batch:
        """Some of the examples."""
        chosen = [self._kept[number] for number in rng.integers(len(self._kept), size=count)]
        levels = len(chosen[0][0])
        return Batch(
            [torch.stack([features[level] for features, _, _ in chosen]).float() for level in range(levels)],
            torch.stack([half for _, half, _ in chosen]).float(),
            torch.stack([mask for _, _, mask in chosen]).float(),
        )


def to_tensor(pictures: NDArray[np.uint8]) -> Tensor:
    """`[pictures, height, width, 3]` to `[pictures, 3, height, width]`, 0 to 1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255.0
