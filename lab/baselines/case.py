"""One pair in the network's terms, shared by all methods."""

import time
from collections.abc import Mapping
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from core.images.canvas import compose
from core.masks.regions import UNMASKED, Masks
from core.matching.correspondence import Correspondence
from core.matching.one_shot import match_regions
from core.models.models import Models
from core.params.transfer import MatchingParams, TransferParams
from core.pipeline import Stopwatch, TransferInputs, build_scene, finish
from core.sampling.sampler import Start, sample
from core.scene import Scene
from lab.baselines.settings import Changes
from lab.metrics.matches import Grid, at_tokens
from lab.pairs import Pair
from lab.scenes import TrueCorrespondence

Bytes = NDArray[np.uint8]


class Side(Protocol):
    """A picture and where its figure is."""

    @property
    def image(self) -> Bytes:
        """sRGB `[height, width, 3]`."""

    @property
    def part(self) -> Bytes:
        """Over 0 inside."""

    @property
    def weights(self) -> NDArray[np.float32]:
        """The figure's mask as it is handed in, 0 to 1."""


class Pictures(Protocol):
    """What a method sees of a pair: rendered ones, whose truth is known, or photographs."""

    @property
    def target(self) -> Side: ...

    @property
    def reference(self) -> Side: ...


class Case:
    """What a method is given. Encoded and matched once, when a method first asks for it.

    `params` are ours; other methods take their schedule from them and change what makes them another method, and
    `overrides` change single values of a method by its name.
    """

    def __init__(
        self,
        models: Models,
        pair: Pictures,
        params: TransferParams,
        seed: int,
        *,
        masked: bool = True,
        overrides: Mapping[str, Changes] | None = None,
    ) -> None:
        self.models = models
        self.pair = pair
        self.params = params.resolved()
        self.seed = seed
        self.overrides = overrides or {}
        given = Masks(figure(pair.target), figure(pair.reference)) if masked else UNMASKED
        self.inputs = TransferInputs(picture(pair.target), picture(pair.reference), given)

    @property
    def rendered(self) -> Pair:
        """The pair with its truth, for the upper bounds alone; photographs have none."""
        assert isinstance(self.pair, Pair), "photographs have no truth"
        return self.pair

    @cached_property
    def _seen(self) -> tuple[Scene, Masks]:
        scene, masks, _ = build_scene(
            self.models, self.inputs, self.params, Stopwatch(time.perf_counter, self.models.device)
        )
        return scene, masks

    @property
    def scene(self) -> Scene:
        """Both pictures encoded, in one region."""
        return self._seen[0]

    @property
    def masks(self) -> Masks:
        """The masks that are used, each of its picture's size."""
        return self._seen[1]

    @cached_property
    def own_correspondence(self) -> Correspondence:
        """What the networks match, from the clean pictures."""
        return self.match(self.params.matching)

    @cached_property
    def unet_correspondence(self) -> Correspondence:
        """The same by the UNet's features alone."""
        return self.match(self.params.matching.model_copy(update={"source": "unet"}))

    def match(self, params: MatchingParams) -> Correspondence:
        """The correspondence by given parameters, from the clean pictures."""
        (found,) = match_regions(self.scene, params, self.seed)
        return found

    @cached_property
    def true_correspondence(self) -> Correspondence:
        """The renderer's correspondence on the grid of our own."""
        return correspondence_at_tokens(self.rendered.correspondence, self.own_correspondence.grid)

    def repaint(self, params: TransferParams, found: Correspondence | None) -> Bytes:
        """The sampler's result by a given correspondence, or where it is None, as each layer or step matches for
        itself."""
        (sampled,) = sample(self.scene, [Start(self.seed, None if found is None else [found])], params)
        target, output = self.inputs.target, params.output
        return finish(self.models, target, self.masks.target, self.scene.target, sampled, output).numpy()

    def finish(self, generated: Tensor) -> Bytes:
        """A generated picture `[3, height, width]` set into the target, as ours is."""
        mask, feather_px = self.masks.target, self.params.output.feather_px
        return compose(generated, self.inputs.target, mask, feather_px).cpu().numpy()


def picture(side: Side) -> Tensor:
    """RGB `[3, height, width]` in 0..1."""
    return torch.from_numpy(side.image.copy()).permute(2, 0, 1).float() / 255.0


def figure(side: Side) -> Tensor:
    """The figure's mask `[height, width]`, 0 to 1."""
    return torch.from_numpy(side.weights.copy())


def correspondence_at_tokens(true: TrueCorrespondence, grid: Grid) -> Correspondence:
    """For every target token the reference token under its true counterpart.

    Tokens without one (background, or a part that the reference lacks) take their nearest neighbour's, so that the map
    has no holes. Both pictures are square and of one size.
    """
    size = len(true.row)
    row, column = (at_tokens(plane, grid).reshape(grid).astype(np.int64) for plane in (true.row, true.column))
    missing = row < 0
    if not missing.all():
        nearest = distance_transform_edt(missing, return_distances=False, return_indices=True)
        row, column = row[tuple(nearest)], column[tuple(nearest)]
    index = (row * grid[0] // size) * grid[1] + column * grid[1] // size
    tokens = torch.from_numpy(np.maximum(index, 0).ravel())
    return Correspondence(grid, tokens, torch.ones(len(tokens)))
