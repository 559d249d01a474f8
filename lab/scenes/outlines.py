"""Outlines of parts, in part-local coordinates.

Every part has canonical coordinates `(u, v)`: `u` runs along the part from -1 to 1, `v` across it,
positive downwards in the unposed figure. An outline decides which `(u, v)` belong to the part, so the
canonical coordinates do not depend on the body plan, the pose or the mirror image.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

TABLE_SIZE = 513
"""Entries of an outline table: at 512 px a part of the whole picture's width still moves less than 2 px per entry."""

AXIS: Floats = np.linspace(-1.0, 1.0, TABLE_SIZE, dtype=np.float32)


@dataclass(frozen=True)
class Profile:
    """`-upper(u) <= v <= lower(u)`, both given at `AXIS`; `notch` cuts a V of that depth into the end `u = 1`."""

    upper: Floats
    lower: Floats
    notch: float = 0.0


@dataclass(frozen=True)
class Rosette:
    """`|(u, v)| <= radius(angle)`, the radius given over angles -pi..pi; for wheels and petals."""

    radius: Floats


Outline = Profile | Rosette


def ellipse(power: float = 2.0) -> Profile:
    """`|u|^power + |v|^power <= 1`; 2 is an ellipse, larger powers approach a box."""
    half = ((1.0 - np.abs(AXIS) ** power) ** (1.0 / power)).astype(np.float32)
    return Profile(half, half)


def drop(lean: float, power: float = 2.0) -> Profile:
    """An ellipse that is thicker towards `u = 1` for positive `lean`, towards `u = -1` for negative."""
    half = (1.0 - np.abs(AXIS) ** power) ** (1.0 / power) * (1.0 + lean * AXIS)
    half = (half / half.max()).astype(np.float32)
    return Profile(half, half)


def taper(start: float, end: float, roundness: float = 0.15) -> Profile:
    """Half width falling linearly from `start` at `u = -1` to `end` at `u = 1`, ends rounded over that
    share of the length."""
    half = start + (end - start) * (AXIS + 1.0) / 2.0
    return Profile(*(2 * (half * _round_ends(roundness),)))


def fan(start: float, notch: float = 0.0, curve: float = 1.0) -> Profile:
    """Half width growing from `start` at `u = -1` to 1 at `u = 1`; `notch` forks the end."""
    half = start + (1.0 - start) * ((AXIS + 1.0) / 2.0) ** curve
    return Profile(half * _round_ends(0.1), half * _round_ends(0.1), notch)


def ridge(points: list[tuple[float, float]], base: float = 1.0) -> Profile:
    """Flat below (`v = base`), above through the given `(u, v)` points; for fins, roofs and cabins. `v`
    is negative upwards."""
    us, vs = zip(*points, strict=True)
    upper = -np.interp(AXIS, us, vs).astype(np.float32)
    return Profile(upper, np.full_like(AXIS, base))


def wing(fullness: float, point: float) -> Profile:
    """A folded wing: straight leading edge above, rounded trailing edge below, ending in a point at `u = 1`."""
    along = (AXIS + 1.0) / 2.0
    upper = 0.75 * np.sqrt(np.clip(1.0 - np.clip(0.35 - along, 0, 1) ** 2 / 0.1225, 0, 1)) * (1.0 - along**3 * point)
    lower = np.clip(np.sin(np.pi * along**fullness), 0.0, 1.0) ** 0.7
    return Profile(upper.astype(np.float32), lower.astype(np.float32))


def box(roundness: float = 0.05) -> Profile:
    """A rectangle with slightly rounded ends."""
    half = _round_ends(roundness)
    return Profile(half, half)


def disk() -> Rosette:
    """The unit disk."""
    return Rosette(np.ones_like(AXIS))


def petals(count: int, depth: float, sharpness: float, turn: float) -> Rosette:
    """`count` petals around the centre; between two petals the radius falls to `1 - depth`."""
    wave = np.abs(np.cos(count / 2.0 * (AXIS * np.pi + turn))) ** sharpness
    return Rosette((1.0 - depth * (1.0 - wave)).astype(np.float32))


def _round_ends(share: float) -> Floats:
    """1 along the axis, falling to 0 as a quarter circle over that share of the length at both ends."""
    distance = np.clip((1.0 - np.abs(AXIS)) / max(2.0 * share, 1e-6), 0.0, 1.0)
    return np.sqrt(1.0 - (1.0 - distance) ** 2).astype(np.float32)
