"""The contact sheet: one row per pair with target, reference, truth, matches and every method's result."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lab.baselines import Case
from lab.evaluation.places import draw_places, place_colours, values_at
from lab.metrics.regions import Bytes

SHEET_PAIRS = 24
"""Rows of a sheet: the first pairs of a run, unselected."""
HEADER_PX = 20
GIVEN = ("target", "reference", "truth", "matches", "places", "matched", "true places")


def strip(case: Case, results: Mapping[str, Bytes]) -> Bytes:
    """One row, `[size, size * columns, 3]`."""
    pair = case.rendered
    given = [pair.target.image, pair.reference.image, pair.truth.image, draw_matches(case), *draw_correspondence(case)]
    return np.concatenate(given + [results[name] for name in results if name not in GIVEN], axis=1)


def column_names(methods: Sequence[str]) -> list[str]:
    """What the pictures of a row are, in their order."""
    return [*GIVEN, *(name for name in methods if name not in GIVEN)]


def draw_matches(case: Case) -> Bytes:
    """The reference's pixels at the places that the target's tokens matched, unfiltered, on grey."""
    height, width = case.pair.target.part.shape
    places = case.places(case.own_correspondences, (height, width)).reshape(height, width, 2)
    moved = values_at(places, case.pair.reference.image)
    drawn: Bytes = np.where((case.pair.target.part > 0)[..., None], moved, np.uint8(200))
    return drawn


def draw_correspondence(case: Case) -> list[Bytes]:
    """The reference with a colour for every place, the target in the colours that it matched, and in the true ones."""
    target, reference = case.pair.target, case.pair.reference
    height, width = target.part.shape
    colours = place_colours(reference.part)
    places = [
        case.places(maps, (height, width)).reshape(height, width, 2)
        for maps in (case.own_correspondences, case.true_correspondences)
    ]
    return [
        draw_places(reference.image, reference.part, colours),
        *(draw_places(target.image, target.part, values_at(found, colours)) for found in places),
    ]


def draw_sheet(folder: Path, seeds: Sequence[int], methods: Sequence[str], out: Path) -> None:
    """Puts the rows that a run kept in `folder` under each other, under the names of the columns, into a PNG."""
    stack_strips([folder / f"{seed}.png" for seed in seeds[:SHEET_PAIRS]], column_names(methods), out)


def stack_strips(strips: Sequence[Path], columns: Sequence[str], out: Path) -> None:
    """Puts pictures of one size, each with a cell for every column, under each other and the columns' names."""
    rows = [np.asarray(Image.open(strip)) for strip in strips]
    width = rows[0].shape[1]
    header = Image.new("RGB", (width, HEADER_PX), "white")
    pen = ImageDraw.Draw(header)
    for place, name in enumerate(columns):
        pen.text((place * width // len(columns) + 2, 3), name, fill="black", font=ImageFont.load_default(11))
    Image.fromarray(np.concatenate([np.asarray(header), *rows])).save(out, "PNG")
