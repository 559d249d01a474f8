"""The vocabulary of parts, shared by all categories, and how a part is placed in a figure."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from lab.scenes.outlines import Outline


class Category(StrEnum):
    """What a scene shows."""

    BIRD = "bird"
    FISH = "fish"
    QUADRUPED = "quadruped"
    CAR = "car"
    HOUSE = "house"
    FLOWER = "flower"


@dataclass(frozen=True)
class PartKind:
    """A named part.

    `group` is what a caption calls it and what shares one appearance (both wheels of a car); `half_size`
    is the nominal half length and half height in figure units, which gives patterns one pitch on all body
    plans; `textured` is false for parts too small to show a pattern; `fixed` parts keep their looks in
    every scene.
    """

    name: str
    group: str
    half_size: tuple[float, float]
    textured: bool = True
    fixed: bool = False


PARTS: tuple[PartKind, ...] = (
    PartKind("background", "background", (1.0, 1.0), fixed=True),
    PartKind("body", "body", (0.55, 0.32)),
    PartKind("head", "head", (0.24, 0.22)),
    PartKind("eye", "eye", (0.05, 0.05), textured=False, fixed=True),
    PartKind("beak", "beak", (0.15, 0.07), textured=False),
    PartKind("wing", "wing", (0.42, 0.22)),
    PartKind("tail", "tail", (0.32, 0.20)),
    PartKind("neck", "neck", (0.28, 0.14)),
    PartKind("near foreleg", "legs", (0.32, 0.09), textured=False),
    PartKind("near hindleg", "legs", (0.32, 0.09), textured=False),
    PartKind("far foreleg", "legs", (0.32, 0.09), textured=False),
    PartKind("far hindleg", "legs", (0.32, 0.09), textured=False),
    PartKind("ear", "ears", (0.12, 0.07), textured=False),
    PartKind("dorsal fin", "back fin", (0.34, 0.14)),
    PartKind("belly fin", "belly fin", (0.24, 0.12)),
    PartKind("side fin", "side fin", (0.16, 0.11), textured=False),
    PartKind("cabin", "roof", (0.46, 0.24)),
    PartKind("front window", "windows", (0.18, 0.15), textured=False),
    PartKind("rear window", "windows", (0.18, 0.15), textured=False),
    PartKind("front wheel", "wheels", (0.19, 0.19)),
    PartKind("rear wheel", "wheels", (0.19, 0.19)),
    PartKind("lamp", "lamp", (0.07, 0.06), textured=False),
    PartKind("door", "door", (0.18, 0.22)),
    PartKind("wall", "wall", (0.60, 0.40)),
    PartKind("gable", "roof", (0.70, 0.30)),
    PartKind("chimney", "chimney", (0.10, 0.16), textured=False),
    PartKind("petals", "petals", (0.50, 0.50)),
    PartKind("centre", "centre", (0.20, 0.20)),
    PartKind("stem", "stem", (0.50, 0.05), textured=False),
    PartKind("near leaf", "leaves", (0.30, 0.13)),
    PartKind("far leaf", "leaves", (0.30, 0.13)),
    PartKind("pot", "pot", (0.24, 0.32)),
)

PART_ID: dict[str, int] = {kind.name: index for index, kind in enumerate(PARTS)}
"""Label values of rendered pictures; 0 is the background."""

Affine = NDArray[np.float64]
"""`[2, 3]`: maps column `(x, y, 1)`."""


@dataclass(frozen=True)
class PlacedPart:
    """A part in figure coordinates (x right, y down, a figure fills about -1..1).

    `to_figure` maps canonical `(u, v + bend * u^2)`; `relief` is 0 for a flat part and 1 for a round one.
    """

    kind: PartKind
    outline: Outline
    to_figure: Affine
    bend: float = 0.0
    relief: float = 0.7


def put(
    name: str,
    outline: Outline,
    centre: tuple[float, float],
    half_size: tuple[float, float],
    angle: float = 0.0,
    *,
    bend: float = 0.0,
    relief: float = 0.7,
) -> PlacedPart:
    """A part by its centre, half size and the direction of its `u` axis (radians, clockwise in the picture)."""
    cos, sin = np.cos(angle), np.sin(angle)
    length, height = half_size
    matrix = np.array([[cos * length, -sin * height, centre[0]], [sin * length, cos * height, centre[1]]])
    return PlacedPart(PARTS[PART_ID[name]], outline, matrix, bend, relief)


def limb(
    name: str,
    outline: Outline,
    root: tuple[float, float],
    size: tuple[float, float],
    angle: float,
    *,
    bend: float = 0.0,
    relief: float = 0.7,
) -> PlacedPart:
    """A part that starts (`u = -1`) at `root` and points along `angle`; `size` is its length and half height."""
    half = size[0] / 2.0
    centre = (root[0] + half * float(np.cos(angle)), root[1] + half * float(np.sin(angle)))
    return put(name, outline, centre, (half, size[1]), angle, bend=bend, relief=relief)


def point_on(part: PlacedPart, u: float, v: float) -> tuple[float, float]:
    """The figure coordinates of a canonical point, to hang another part there."""
    x, y = part.to_figure @ np.array([u, v + part.bend * u * u, 1.0])
    return float(x), float(y)
