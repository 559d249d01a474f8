"""One pair in the network's terms, shared by all methods."""

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from core.finish import Proposal, sample_plane, stitch, window_of
from core.images.canvas import feather
from core.images.geometry import extent, token_at, token_places
from core.masks.regions import UNMASKED, Masks
from core.matching.correspondence import Correspondence, Matches
from core.matching.one_shot import match_regions
from core.models.models import Models
from core.params.transfer import MatchingParams, TransferParams
from core.pipeline import (
    Figure,
    Started,
    Stopwatch,
    TransferInputs,
    build_scenes,
    conclude,
    propose_latent,
    tell_matches,
)
from core.sampling.sampler import sample
from lab.baselines.settings import Changes
from lab.metrics.matches import Grid
from lab.pairs import Pair
from lab.scenes import TrueCorrespondence

Bytes = NDArray[np.uint8]
Box = tuple[float, float, float, float]
"""Where a picture lies on a canvas: left, top, width, height as fractions of the canvas."""
WHOLE_CANVAS: Box = (0.0, 0.0, 1.0, 1.0)


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
    def _seen(self) -> tuple[list[Figure], Masks]:
        figures, masks, _ = build_scenes(
            self.models, self.inputs, self.params, Stopwatch(time.perf_counter, self.models.device)
        )
        return figures, masks

    @property
    def figures(self) -> list[Figure]:
        """What is repainted, every figure encoded on a canvas of its own."""
        return self._seen[0]

    @property
    def masks(self) -> Masks:
        """The masks that are used, each of its picture's size."""
        return self._seen[1]

    @cached_property
    def own_correspondences(self) -> list[Correspondence]:
        """What the networks match, from the clean pictures, figure by figure."""
        return self.match(self.params.matching)

    @cached_property
    def unet_correspondences(self) -> list[Correspondence]:
        """The same by the UNet's features alone."""
        return self.match(self.params.matching.model_copy(update={"source": "unet"}))

    def match(self, params: MatchingParams) -> list[Correspondence]:
        """Every figure's correspondence by given parameters, from the clean pictures."""
        return [match_regions(figure.scene, params, self.seed)[0] for figure in self.figures]

    @cached_property
    def true_correspondences(self) -> list[Correspondence]:
        """The renderer's correspondence on every figure's canvases, on the grids of our own."""
        true = self.rendered.correspondence
        return [
            correspondence_at_tokens(true, found.grid, figure.scene.target.box, figure.scene.regions[0].reference.box)
            for figure, found in zip(self.figures, self.own_correspondences, strict=True)
        ]

    def matches(self, maps: Sequence[Correspondence]) -> Matches:
        """Correspondences of all figures in the terms of the pictures."""
        return tell_matches(self.figures, [[found] for found in maps], self.inputs.target)

    def places(self, maps: Sequence[Correspondence], grid: Grid) -> NDArray[np.float64]:
        """Where every token of `grid` over the whole target lies in the reference picture by the correspondences of all
        figures: (x, y) `[tokens, 2]`, fractions of its sides. Beyond every figure the first one's map goes on."""
        found = [places_over_target(figure, one, grid) for figure, one in zip(self.figures, maps, strict=True)]
        places = found[0]
        for figure, own in zip(self.figures[1:], found[1:], strict=True):
            mask = figure.selected.target_mask
            assert mask is not None, "one of several figures has a mask"
            shares = token_places(grid, mask) / extent(grid, mask)
            inside = mask.flatten()[token_at(shares, (mask.shape[0], mask.shape[1]))] > 0.0
            places = torch.where(inside[:, None], own, places)
        return places.double().numpy()

    def repaint(self, params: TransferParams, maps: Sequence[Correspondence] | None) -> Bytes:
        """The sampler's result by given correspondences, one for each figure, or where they are None, as each layer or
        step matches for itself."""
        return repaint_figures(self.figures, self.inputs.target, maps, params, self.seed)

    def finish(self, drawn: Sequence[Tensor]) -> Bytes:
        """The target with what pictures `[3, height, width]` on the figures' canvases change of it, through its masks
        as ours is."""
        target = self.inputs.target
        result = target
        for figure, picture in zip(self.figures, drawn, strict=True):
            left, top, width, height = window_of(figure.scene.target, target)
            y = (torch.arange(target.shape[1]) + 0.5 - top) / height
            x = (torch.arange(target.shape[2]) + 0.5 - left) / width
            changed = sample_plane((picture - figure.scene.target.picture)[None].cpu(), y, x)
            mask = figure.selected.target_mask
            weight = torch.ones_like(target[0]) if mask is None else feather(mask, self.params.output.feather_px)
            result = torch.lerp(result, (target + changed).clamp(0.0, 1.0), weight)
        return as_bytes(result.permute(1, 2, 0))


def repaint_figures(
    figures: Sequence[Figure],
    target: Tensor,
    maps: Sequence[Correspondence] | None,
    params: TransferParams,
    seed: int,
) -> Bytes:
    """The target `[3, height, width]` with every figure sampled by a given correspondence; where `maps` is None, as
    each layer or step matches for itself."""
    ends = []
    for number, figure in enumerate(figures):
        start = Started(seed, None) if maps is None else start_from(figure, target, maps[number], params, seed)
        (sampled,) = sample(figure.scene, [start], params)
        end, _ = conclude(figure, target, start, sampled, params)
        ends.append(end)
    drawn: Bytes = stitch(target, ends, params.output).numpy()
    return drawn


def start_from(figure: Figure, target: Tensor, found: Correspondence, params: TransferParams, seed: int) -> Started:
    """What a figure is sampled from by a given correspondence, as `core.pipeline.correspond` makes it by its own."""
    if params.latent.warp_strength == 0.0:
        return Started(seed, [found])
    proposal = Proposal(figure.scene, target, figure.selected, found, params.latent)
    return Started(seed, [found], propose_latent(figure.scene, proposal), proposal)


def places_over_target(figure: Figure, found: Correspondence, grid: Grid) -> Tensor:
    """One figure's correspondence at the tokens of `grid` over the whole target: (x, y) `[tokens, 2]`, fractions of the
    reference picture, on the CPU."""
    like = found.similarity
    here, there = (
        torch.tensor(canvas.box, device=like.device, dtype=like.dtype)
        for canvas in (figure.scene.target, figure.scene.regions[0].reference)
    )
    tokens = extent(found.grid, like)
    seen = here[:2] + token_places(grid, like) / extent(grid, like) * here[2:]
    matched = found.local_affine.at(token_at(seen, found.grid), seen * tokens) / tokens
    return ((matched - there[:2]) / there[2:]).clamp(0.0, 1.0).cpu()


def as_bytes(picture: Tensor) -> Bytes:
    """A picture in 0..1 as 8-bit values."""
    rounded: Bytes = (picture * 255.0).round().to(torch.uint8).cpu().numpy()
    return rounded


def picture(side: Side) -> Tensor:
    """RGB `[3, height, width]` in 0..1."""
    return torch.from_numpy(side.image.copy()).permute(2, 0, 1).float() / 255.0


def figure(side: Side) -> Tensor:
    """The figure's mask `[height, width]`, 0 to 1."""
    return torch.from_numpy(side.weights.copy())


def correspondence_at_tokens(
    true: TrueCorrespondence, grid: Grid, here: Box = WHOLE_CANVAS, there: Box = WHOLE_CANVAS
) -> Correspondence:
    """For every token of the target's canvas the token of the reference's under its true counterpart. `here` and
    `there` are where the target and the reference lie on their canvases.

    Tokens without one (background, what is beyond the picture, or a part that the reference lacks) take their nearest
    neighbour's, so that the map has no holes. Both pictures are square and of one size.
    """
    size = len(true.row)
    y, x = (
        np.floor(((np.arange(count) + 0.5) / count - first) / side * size).astype(np.int64)
        for count, first, side in zip(grid, (here[1], here[0]), (here[3], here[2]), strict=True)
    )
    beyond = ((y < 0) | (y >= size))[:, None] | ((x < 0) | (x >= size))[None, :]
    under = np.ix_(y.clip(0, size - 1), x.clip(0, size - 1))
    row, column = (np.where(beyond, -1, plane[under]).astype(np.int64) for plane in (true.row, true.column))
    missing = row < 0
    if not missing.all():
        nearest = distance_transform_edt(missing, return_distances=False, return_indices=True)
        row, column = row[tuple(nearest)], column[tuple(nearest)]
    rows, columns = (
        np.floor(((place.clip(0) + 0.5) / size * side + first) * count).astype(np.int64).clip(0, count - 1)
        for place, first, side, count in ((row, there[1], there[3], grid[0]), (column, there[0], there[2], grid[1]))
    )
    tokens = torch.from_numpy((rows * grid[1] + columns).ravel())
    return Correspondence(grid, tokens, torch.ones(len(tokens)))
