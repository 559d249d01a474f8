"""One pair in the network's terms, shared by all methods."""

from collections.abc import Mapping
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from core.images.canvas import compose
from core.masks.regions import Canvases, Masks
from core.matching.correspondence import TokenMap
from core.matching.one_shot import look_once
from core.models.models import Models
from core.models.unet import NoisePredictor
from core.params.transfer import TransferParams
from core.pipeline import encode, finish, prepare, select
from core.sampling.sampler import Start, sample
from core.types import LatentPair
from lab.baselines.settings import Changes
from lab.matching import Grid, at_tokens
from lab.pairs import Pair
from lab.scenes import Correspondence

Bytes = NDArray[np.uint8]


class Side(Protocol):
    """A picture and where its figure is."""

    @property
    def image(self) -> Bytes:
        """sRGB `[height, width, 3]`."""

    @property
    def part(self) -> Bytes:
        """Over 0 inside."""


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
        self.params = params
        self.seed = seed
        self.overrides = overrides or {}
        self.target, self.reference = picture(pair.target), picture(pair.reference)
        given = Masks(figure(pair.target), figure(pair.reference)) if masked else Masks()
        self._regions, self.masks = select(models, self.target, self.reference, given, params)

    @property
    def rendered(self) -> Pair:
        """The pair with its truth, for the upper bounds alone; photographs have none."""
        assert isinstance(self.pair, Pair), "photographs have no truth"
        return self.pair

    @cached_property
    def canvases(self) -> Canvases:
        return prepare(self.models, self.target, self._regions, self.params)

    @cached_property
    def _encoded(self) -> tuple[list[LatentPair], NoisePredictor]:
        return encode(self.models, self.canvases, "", "", self.params)

    @property
    def latents(self) -> LatentPair:
        return self._encoded[0][0]

    @property
    def predict_noise(self) -> NoisePredictor:
        """The network, with its prompts bound."""
        return self._encoded[1]

    @cached_property
    def own_map(self) -> TokenMap:
        """The correspondence that the networks find, in one look at both pictures."""
        return self._look(self.params)

    @cached_property
    def unet_map(self) -> TokenMap:
        """The same by the UNet's features alone."""
        return self._look(self.params.model_copy(update={"match_source": "one_shot"}))

    def _look(self, params: TransferParams) -> TokenMap:
        pairs, predict = self._encoded
        (found,) = look_once(self.models, self.canvases, pairs, predict, params, self.seed)
        return found

    @cached_property
    def true_map(self) -> TokenMap:
        """The renderer's correspondence on the grid of `own_map`."""
        return true_token_map(self.rendered.correspondence, self.own_map.grid)

    def repaint(self, params: TransferParams, token_map: TokenMap | None) -> Bytes:
        """The sampler's result with the given map, or where it is None, as each layer matches for itself."""
        pairs, predict = self._encoded
        start = Start(self.seed, None if token_map is None else [token_map])
        (sampled,) = sample(self.models, self.canvases, pairs, predict, [start], params)
        return finish(self.models, self.target, self.canvases, sampled, params).numpy()

    def finish(self, generated: Tensor) -> Bytes:
        """A generated picture `[3, height, width]` set into the target, as ours is."""
        return compose(generated, self.target, self.canvases.target_mask, self.params.feather_px).cpu().numpy()


def picture(side: Side) -> Tensor:
    """RGB `[3, height, width]` in 0..1."""
    return torch.from_numpy(side.image.copy()).permute(2, 0, 1).float() / 255.0


def figure(side: Side) -> Tensor:
    """The figure's mask `[height, width]`, 0 or 1."""
    return torch.from_numpy((side.part > 0).astype(np.float32))


def true_token_map(true: Correspondence, grid: Grid) -> TokenMap:
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
    return TokenMap(grid, tokens, torch.ones(len(tokens)))
