"""Pairs of photographs with their truth, and their files."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt

from lab.photographs.make.motion import (
    Motion,
    Movement,
    Reals,
    draw_moved,
    place_in_picture,
    places_of,
    sample_motion,
)
from lab.photographs.make.recolour import recolour
from lab.photographs.make.sources import (
    LARGE_PIXELS,
    OPAQUE,
    Figure,
    Floats,
    cut_figure,
    find_cutouts,
    find_photographs,
    read_cutouts,
    read_square,
)

MOST_POINTS = 40
SEEN = 0.9
"""Alpha of the reference above which a point's counterpart counts as seen."""
MAP_CELLS = 64
"""Cells along each side of a map, as many as `matching.custom_map` takes."""
DIGITS = 5
"""Of places: a hundredth of a pixel in the largest pictures."""
SIZES = (0.6, 1.2)
"""Of a composite's figures, as factors of the share that is asked for."""
COMPRESSION = 3


class Kind(StrEnum):
    """What a folder is for."""

    SELF = "self"
    COMPOSITE = "composite"
    LARGE = "large"


@dataclass(frozen=True)
class Recipe:
    """What pairs are made of, and how. Equal recipes make equal files."""

    kind: Kind
    photographs: Path
    cutouts: Path | None
    """Not needed for large figures."""
    pairs: int
    seed: int
    size: int
    """Side of the square pictures, in pixels."""
    share: float
    """Of the side, that the figure's longer side takes in the target."""

    @property
    def side(self) -> int:
        """The figure's longer side in the target, in pixels."""
        return max(8, round(self.size * self.share))


@dataclass(frozen=True)
class MadePair:
    """Pictures 0..1 by the ends of their files' names, and what lies beside them as JSON."""

    name: str
    pictures: dict[str, Floats]
    beside: dict[str, Any]


def make_pairs(recipe: Recipe) -> Iterator[MadePair]:
    """The pairs of a recipe, one after another; of equal seeds and sources the first are the same, however many there
    are. Raises BadSource."""
    order, *draws = np.random.SeedSequence(recipe.seed).spawn(recipe.pairs + 1)
    rngs = [np.random.Generator(np.random.PCG64(draw)) for draw in draws]
    figures = _figures(recipe, np.random.Generator(np.random.PCG64(order)))
    everywhere = find_photographs(recipe.photographs)
    for number, rng in enumerate(rngs):
        if recipe.kind is Kind.COMPOSITE:
            yield _composite(f"composite-{number:02}", recipe, figures, everywhere, rng)
        else:
            movement = list(Movement)[number % len(Movement)]
            group = "large" if recipe.kind is Kind.LARGE else movement
            yield _self_pair(f"{group}-{number:02}", movement, figures(recipe.side, rng), everywhere, recipe, rng)


FigureOf = Callable[[int, np.random.Generator], Figure]
"""The next figure, of a longer side in pixels."""


def _figures(recipe: Recipe, order: np.random.Generator) -> FigureOf:
    if recipe.kind is Kind.LARGE:
        photographs = find_photographs(recipe.photographs, LARGE_PIXELS, recipe.side)
        return lambda side, rng: cut_figure(photographs[rng.integers(len(photographs))], side, rng)
    assert recipe.cutouts is not None
    drawn = read_cutouts(find_cutouts(recipe.cutouts), order)
    return lambda side, rng: next(drawn).scaled(side)


def _self_pair(
    name: str, movement: Movement, figure: Figure, photographs: list[Path], recipe: Recipe, rng: np.random.Generator
) -> MadePair:
    """The reference is the figure recoloured and moved; the truth is the target recoloured."""
    size = recipe.size
    left, top = (int(rng.integers(0, size - length + 1)) for length in figure.alpha.shape[::-1])
    ground, other = _two_squares(photographs, size, rng)
    recoloured = Figure(recolour(figure, rng), figure.alpha)
    here = [_set_into(size, one, left, top) for one in (figure, recoloured)]
    motion = place_in_picture(sample_motion(movement, recipe.side, rng), figure.alpha, size, rng)
    there = draw_moved(recoloured, motion, size)
    corner = np.array([left, top], np.float64)
    return MadePair(
        name,
        {
            "target": here[0].over(ground),
            "reference": there.over(other),
            "truth": here[1].over(ground),
            "target-mask": here[0].alpha,
            "reference-mask": there.alpha,
        },
        {
            "points": true_points(figure.alpha, there.alpha, motion, corner, rng),
            "map": true_map(figure.alpha, motion, corner, size),
        },
    )


def _composite(
    name: str, recipe: Recipe, figures: FigureOf, photographs: list[Path], rng: np.random.Generator
) -> MadePair:
    """Two cut-outs on two photographs, each at a random place and size."""
    pictures: dict[str, Floats] = {}
    for role, ground in zip(("target", "reference"), _two_squares(photographs, recipe.size, rng), strict=True):
        share = min(recipe.share * rng.uniform(*SIZES), 1.0)
        figure = figures(max(8, round(recipe.size * share)), rng)
        left, top = (int(rng.integers(0, recipe.size - length + 1)) for length in figure.alpha.shape[::-1])
        placed = _set_into(recipe.size, figure, left, top)
        pictures |= {role: placed.over(ground), f"{role}-mask": placed.alpha}
    return MadePair(name, pictures, {})


def true_points(
    alpha: Floats, seen: Floats, motion: Motion, corner: Reals, rng: np.random.Generator
) -> list[dict[str, list[float]]]:
    """Up to MOST_POINTS random places of an opaque figure, whose first corner lies at `corner` in the target, with
    their counterparts, as fractions of both square pictures; `seen` is the alpha of the reference."""
    size = len(seen)
    rows, columns = np.nonzero(alpha > OPAQUE)
    chosen = rng.permutation(len(rows))[: 4 * MOST_POINTS]
    here = np.stack([columns, rows], axis=1)[chosen] + 0.5
    there = motion(places_of(alpha, here))
    under = there.astype(int).clip(0, size - 1)
    shown = seen[under[:, 1], under[:, 0]] > SEEN
    pairs = np.stack([here + corner, there], axis=1)[shown][:MOST_POINTS] / size
    return [{"target": place, "reference": counterpart} for place, counterpart in pairs.round(DIGITS).tolist()]


def true_map(alpha: Floats, motion: Motion, corner: Reals, size: int) -> list[list[list[float]]]:
    """The map of the figure as `matching.custom_map` takes it: the counterpart of every cell's middle, of cells that
    show nothing of the figure that of the nearest one that does."""
    cells = min(MAP_CELLS, size)
    shown = np.zeros((cells, cells), np.bool_)
    rows, columns = np.nonzero(alpha >= 0.5)
    row, column = (
        ((pixels + 0.5 + start) * cells / size).astype(int)
        for pixels, start in zip((rows, columns), corner[::-1], strict=True)
    )
    shown[row, column] = True
    nearest = distance_transform_edt(~shown, return_distances=False, return_indices=True)
    middles = (nearest[::-1].transpose(1, 2, 0) + 0.5) * size / cells
    there = motion(places_of(alpha, middles - corner)) / size
    rounded: list[list[list[float]]] = there.clip(0.0, 1.0).round(DIGITS).tolist()
    return rounded


def write_pair(pair: MadePair, folder: Path) -> None:
    """Puts a pair's files, `NAME-target.png` and so on, into a folder."""
    for role, picture in pair.pictures.items():
        levels = (picture.clip(0.0, 1.0) * 255.0).round().astype(np.uint8)
        Image.fromarray(levels).save(folder / f"{pair.name}-{role}.png", compress_level=COMPRESSION)
    for what, content in pair.beside.items():
        (folder / f"{pair.name}-{what}.json").write_text(json.dumps(content) + "\n")


def _two_squares(photographs: list[Path], size: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Of two photographs where there are two."""
    first, second = (rng.permutation(len(photographs)).tolist() * 2)[:2]
    return read_square(photographs[first], size, rng), read_square(photographs[second], size, rng)


def _set_into(size: int, figure: Figure, left: int, top: int) -> Figure:
    """The figure in a transparent square."""
    height, width = figure.alpha.shape
    window = slice(top, top + height), slice(left, left + width)
    colours, alpha = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32)
    colours[window], alpha[window] = figure.colours, figure.alpha
    return Figure(colours, alpha)
