"""A strip of pictures of one pair: what was given, the correspondence drawn, and every result, in equal cells."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from lab.baselines import Case
from lab.baselines.case import Bytes, Side
from lab.evaluation.places import draw_places, place_colours, values_at

CELL_PX = 256
PAPER = (255, 255, 255)
GIVEN = ("target", "reference", "places", "matched")
TRUTH = "truth"


def column_names(methods: Sequence[str], with_truth: bool) -> list[str]:
    """What the pictures of a strip are, in their order."""
    return [*GIVEN, *((TRUTH,) if with_truth else ()), *methods]


def draw_strip(
    case: Case, truth: Sequence[Bytes | None], results: Mapping[str, Bytes], methods: Sequence[str]
) -> Bytes:
    """Target, reference, the correspondence drawn, the truth where the run shows one, and the results of `methods`,
    side by side; what the pair lacks leaves an empty cell."""
    own, inside = _small(case.pair.target)
    other, there = _small(case.pair.reference)
    colours = place_colours(there)
    height, width = inside.shape
    places = case.places(case.own_correspondences, (height, width)).reshape(height, width, 2)
    matched = draw_places(own, inside, values_at(places, colours))
    drawn = [own, other, draw_places(other, there, colours), matched, *truth]
    return np.concatenate([_cell(shown) for shown in [*drawn, *(results.get(name) for name in methods)]], axis=1)


def _small(side: Side) -> tuple[Bytes, Bytes]:
    """A picture and its part, at most as large as a cell."""
    size = _fitted(side.image, min(1.0, CELL_PX / max(side.image.shape[:2])))
    image = Image.fromarray(side.image).resize(size, Image.Resampling.LANCZOS)
    part = Image.fromarray(side.part).resize(size, Image.Resampling.NEAREST)
    return np.asarray(image), np.asarray(part)


def _fitted(shown: Bytes, scale: float) -> tuple[int, int]:
    """Width and height of a picture at a scale."""
    return max(1, round(shown.shape[1] * scale)), max(1, round(shown.shape[0] * scale))


def _cell(shown: Bytes | None) -> Bytes:
    """A picture as large as a cell allows, in its middle."""
    cell = Image.new("RGB", (CELL_PX, CELL_PX), PAPER)
    if shown is not None:
        width, height = _fitted(shown, CELL_PX / max(shown.shape[:2]))
        small = Image.fromarray(shown).resize((width, height), Image.Resampling.LANCZOS)
        cell.paste(small, ((CELL_PX - width) // 2, (CELL_PX - height) // 2))
    return np.asarray(cell)
