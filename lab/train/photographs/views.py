"""Batches of views: pairs of one photographic figure with their true correspondence, and drawn figures in photographic
dress with the renderer's own truth.

A figure is a window onto a photograph inside an outline (a drawn figure's, a smooth random one, that of a cut-out, or
none), or a drawn figure whose parts wear windows onto photographs under the renderer's light.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from core.images.geometry import extent, token_places
from lab.scenes import PARTS
from lab.train.dataset import SceneSet
from lab.train.photographs.looks import photograph, recolour
from lab.train.photographs.motion import Motion, sample_motion
from lab.train.photographs.pool import SIDE_PX, Pool, as_planes
from lab.train.placed import MEAN, PICTURE_SIZE, SPREAD, TOKENS, PlacedBatch

KINDS, KIND_SHARES = ("drawn", "smooth", "cut-out", "none"), (0.4, 0.25, 0.15, 0.2)
"""Outlines of photographic figures."""
FIGURE_POINTS = 160
"""By which a figure's window is laid."""
PLAIN_SHARE = 0.25
"""Of backgrounds that are of one colour."""
FAINT_SHARE, FAINT = 0.35, (0.12, 0.6)
"""Share of figures whose texture is weakened, and how much of it is left, so that shape has to do."""
TEXTURES = 4
ONE_COAT_SHARE = 0.45
"""Of dressed figures that wear one texture all over, as many animals do."""


@dataclass(frozen=True)
class PairBatch:
    """Pictures `[2 n, 3, side, side]`, normalised, first those of the one side and then of the other; for each token
    whether it shows the figure `[2 n, tokens]`, and where the other picture shows the same `[2 n, tokens, 2]`, in
    fractions of its sides."""

    pictures: Tensor
    figure: Tensor
    counterparts: Tensor


@dataclass(frozen=True)
class Figures:
    """What is seen: `[n, 3, side, side]` colours and `[n, 1, side, side]` alpha, 0..1."""

    colours: Tensor
    alpha: Tensor


class Views:
    """Draws from a pool of photographs and a rendered set; `shades` `[scenes, side, side]` are the scenes' light."""

    def __init__(self, pool: Pool, scenes: SceneSet, shades: NDArray[np.uint8]) -> None:
        self._pool, self._scenes, self._shades = pool, scenes, shades
        self._fixed = torch.tensor([kind.fixed for kind in PARTS])

    @cached_property
    def _tokens(self) -> Tensor:
        """Middles of the tokens, as fractions."""
        plane = torch.zeros(1)
        return token_places(TOKENS, plane) / extent(TOKENS, plane)

    def pairs(self, rng: np.random.Generator, count: int) -> PairBatch:
        """So many pairs, each of one figure: moved a little and mostly as it is, and moved more, in other colours."""
        one = self._photographic(rng, count)
        figures = Figures(*(torch.cat([plane, plane]) for plane in (one.colours, one.alpha)))
        strengths = [*rng.uniform(0.0, 0.4, count), *rng.uniform(0.2, 1.0, count)]
        motion = self._framed(figures, strengths, rng)
        plain, changed = rng.uniform(size=2 * count), rng.uniform(0.4, 1.0, 2 * count)
        changed[plain < np.repeat([0.5, 0.12], count)] = 0.0
        pictures, shown = self._shoot(figures, motion, list(changed), rng)
        under = motion(self._tokens.expand(2 * count, -1, -1))
        counterparts = motion.inverse(torch.cat([under[count:], under[:count]]))
        first, second = counterparts[:count], counterparts[count:]
        return PairBatch(pictures, shown, torch.cat([second, first]))

    def dressed(self, rng: np.random.Generator, count: int) -> PlacedBatch:
        """So many drawn figures in photographic dress, with their parts and places in them."""
        chosen = rng.integers(0, len(self._scenes.captions), count)
        figures = self._clothed(chosen, rng)
        motion = self._framed(figures, list(rng.uniform(0.0, 1.0, count)), rng)
        changed = np.where(rng.uniform(size=count) < 0.4, 0.0, rng.uniform(0.2, 1.0, count))
        pictures, _ = self._shoot(figures, motion, list(changed), rng)
        places = motion(self._tokens.expand(count, -1, -1))
        labels = [self._labels(int(scene), place) for scene, place in zip(chosen, places, strict=True)]
        parts, uv = zip(*labels, strict=True)
        captions = [self._scenes.captions[scene] for scene in chosen]
        return PlacedBatch(pictures, torch.stack(parts), torch.stack(uv), captions)

    def _photographic(self, rng: np.random.Generator, count: int) -> Figures:
        colours = as_planes(self._pool.windows[rng.integers(0, len(self._pool.windows), count)])
        alpha = torch.ones(count, 1, SIDE_PX, SIDE_PX)
        for number, kind in enumerate(rng.choice(KINDS, count, p=KIND_SHARES)):
            if kind == "drawn":
                scene = int(rng.integers(0, len(self._scenes.captions)))
                alpha[number] = _enlarged(torch.from_numpy(self._scenes.parts[scene] > 0).float())
                if rng.uniform() < 0.5:
                    colours[number] *= _enlarged(_plane(self._shades[scene])) * 1.1
            elif kind == "smooth":
                outline = self._pool.outlines[rng.integers(0, len(self._pool.outlines))]
                alpha[number] = _plane(outline)[None]
            elif kind == "cut-out" and len(self._pool.cutouts):
                cutout = as_planes(self._pool.cutouts[rng.integers(0, len(self._pool.cutouts))][None])[0]
                colours[number], alpha[number] = cutout[:3], cutout[3:]
        return Figures(_fainter(colours, rng).clamp(0.0, 1.0), alpha)

    def _clothed(self, chosen: NDArray[np.int64], rng: np.random.Generator) -> Figures:
        """Drawn figures whose parts wear windows onto photographs."""
        count, side = len(chosen), self._scenes.parts.shape[1]
        drawn_windows = rng.integers(0, len(self._pool.windows), count * TEXTURES)
        textures = as_planes(self._pool.windows[drawn_windows][:, :side, :side])
        textures = _fainter(recolour(textures, list(rng.uniform(0.0, 0.6, len(textures))), rng), rng)
        textures = textures.unflatten(0, (count, TEXTURES))
        worn = rng.integers(0, TEXTURES, (count, len(PARTS)))
        worn[rng.uniform(size=count) < ONE_COAT_SHARE] = 0
        parts = torch.from_numpy(self._scenes.parts[np.sort(chosen)][np.argsort(np.argsort(chosen))].astype(np.int64))
        which = torch.from_numpy(worn)[torch.arange(count)[:, None, None], parts]
        colours = textures.gather(1, which[:, None, None].expand(-1, 1, 3, -1, -1))[:, 0]
        shade = torch.stack([_plane(self._shades[scene]) for scene in chosen])[:, None]
        depth = torch.from_numpy(rng.uniform(0.3, 1.2, (count, 1, 1, 1))).float()
        colours = colours * 1.15 * shade.clamp(min=0.02).pow(depth)
        drawn = as_planes(np.stack([self._scenes.images[scene] for scene in chosen]))
        kept = torch.from_numpy(np.where(rng.uniform(size=count) < 0.3, rng.uniform(0.2, 0.8, count), 0.0)).float()
        colours = torch.lerp(colours, drawn, kept[:, None, None, None])
        dark = self._fixed[parts][:, None] & torch.from_numpy(rng.uniform(size=(count, 1, 1, 1)) < 0.7)
        colours = torch.where(dark & (parts > 0)[:, None], 0.15 * colours, colours)
        return Figures(colours.clamp(0.0, 1.0), (parts > 0)[:, None].float())

    def _framed(self, figures: Figures, strengths: list[float], rng: np.random.Generator) -> Motion:
        side = figures.alpha.shape[-1]
        places = []
        for alpha in figures.alpha[:, 0]:
            rows, columns = torch.nonzero(alpha > 0.5, as_tuple=True)
            some = torch.from_numpy(rng.integers(0, len(rows), FIGURE_POINTS))
            ends = torch.stack([rows.argmin(), rows.argmax(), columns.argmin(), columns.argmax()])
            some = torch.cat([some, ends])
            places.append((torch.stack([columns[some], rows[some]], dim=1) + 0.5) / side)
        return sample_motion(strengths, rng).framed(places, rng)

    def _shoot(
        self, figures: Figures, motion: Motion, changed: list[float], rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Normalised pictures `[n, 3, side, side]` of the figures before backgrounds, and which tokens show them."""
        count = len(figures.colours)
        size = (PICTURE_SIZE, PICTURE_SIZE)
        plane = torch.zeros(1)
        pixels = (token_places(size, plane) / extent(size, plane)).expand(count, -1, -1)
        grid = (motion(pixels) * 2.0 - 1.0).unflatten(1, size)
        colours = functional.grid_sample(figures.colours, grid, padding_mode="border", align_corners=False)
        alpha = functional.grid_sample(figures.alpha, grid, padding_mode="zeros", align_corners=False)
        coloured = recolour(colours, changed, rng)
        pictures = photograph(torch.lerp(self._grounds(rng, count), coloured, alpha), rng)
        shown = functional.adaptive_avg_pool2d(alpha, TOKENS).flatten(1) >= 0.5
        return (pictures - MEAN) / SPREAD, shown

    def _grounds(self, rng: np.random.Generator, count: int) -> Tensor:
        """Backgrounds `[count, 3, side, side]`."""
        windows = as_planes(self._pool.windows[rng.integers(0, len(self._pool.windows), count)])
        grounds = functional.interpolate(windows, size=(PICTURE_SIZE, PICTURE_SIZE), mode="bilinear", antialias=True)
        grounds = recolour(grounds, list(rng.uniform(0.0, 0.5, count) * (rng.uniform(size=count) < 0.5)), rng)
        for number in np.flatnonzero(rng.uniform(size=count) < PLAIN_SHARE):
            grey = rng.uniform(0.0, 1.0) if rng.uniform() < 0.5 else rng.uniform(0.7, 1.0)
            level = np.clip(grey + rng.normal(0.0, 0.08, 3) * (rng.uniform() < 0.5), 0.0, 1.0)
            grounds[number] = torch.from_numpy(level).float()[:, None, None]
        return grounds

    def _labels(self, scene: int, places: Tensor) -> tuple[Tensor, Tensor]:
        """Part ids and canonical coordinates at places of a scene; background beyond it."""
        parts, uv = self._scenes.parts[scene], self._scenes.uv[scene]
        column, row = (places * parts.shape[0]).floor().long().unbind(-1)
        within = (column >= 0) & (row >= 0) & (column < parts.shape[1]) & (row < parts.shape[0])
        row, column = row.clamp(0, parts.shape[0] - 1), column.clamp(0, parts.shape[1] - 1)
        part = torch.from_numpy(parts[row, column].astype(np.int64)) * within
        return part, torch.from_numpy(uv[row, column].astype(np.float32) / 100.0)


def _fainter(colours: Tensor, rng: np.random.Generator) -> Tensor:
    """Some of the pictures with less texture."""
    count = len(colours)
    kept = np.where(rng.uniform(size=count) < FAINT_SHARE, rng.uniform(*FAINT, count), 1.0)
    middle = colours.mean(dim=(2, 3), keepdim=True)
    return torch.lerp(middle.expand_as(colours), colours, torch.from_numpy(kept).float()[:, None, None, None])


def _plane(levels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(levels)).float() / 255.0


def _enlarged(plane: Tensor) -> Tensor:
    """`[1, side, side]` of a pool's picture."""
    return functional.interpolate(plane[None, None], size=(SIDE_PX, SIDE_PX), mode="bilinear", align_corners=False)[0]
