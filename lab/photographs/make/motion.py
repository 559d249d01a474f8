"""Where a figure's places go in another picture: exact both ways, and the figure drawn there.

A motion is a bend, `u + sum of sines`, and a homography after it: mirrored, scaled, turned and, in perspective, seen
aslant. Places of the figure are (x, y) in its longer side, from its middle; those of the picture are in pixels.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, spline_filter

from lab.photographs.make.sources import Figure, Floats

Reals = NDArray[np.floating[Any]]

SCALES = (0.7, 1.1)
ASPECTS = (0.9, 1.1)
MOST_DEGREES = 20.0
SLANT = 0.35
"""Of perspective: how much nearer one end of the figure is than the other, at most."""
WAVES = 2
WAVES_PER_SIDE = (0.7, 1.3)
STEEPNESS = (0.15, 0.24)
"""Of a wave, the most that it stretches the figure; both waves together stay below 1, so that nothing folds over."""
MOST_OF_PICTURE = 0.95
ROUNDS = 60
PRECISE = 1e-9
SUBPIXELS = (-0.25, 0.25)
"""Where a pixel is sampled, along each side, to keep what shrinks from aliasing."""
BORDER_PX = 3
"""Of nothing around a figure, so that splines end softly."""
ORDER = 3
"""Of the splines by which colours are read between pixels."""


class Movement(StrEnum):
    """What a motion is beside mirroring, scaling and turning."""

    TURNED = "turned"
    """Nothing more."""
    BENT = "bent"
    PERSPECTIVE = "perspective"


@dataclass(frozen=True)
class Motion:
    """A map from places of a figure to pixels of a picture."""

    matrix: Reals
    """Homography `[3, 3]`, after the bend."""
    amplitudes: Reals
    """Of the waves, `[waves, 2]`."""
    frequencies: Reals
    """In turns, `[waves, 2]`."""
    phases: Reals
    """`[waves]`, in radians."""

    def __call__(self, places: Reals) -> Reals:
        """Pixels of the picture `[..., 2]`."""
        return _projected(self.matrix, places + self._bend(places))

    def inverse(self, pixels: Reals) -> Reals:
        """Places of the figure under pixels of the picture `[..., 2]`, to `PRECISE`, by fixed-point iteration."""
        bent = _projected(np.linalg.inv(self.matrix), pixels)
        places = bent
        for _ in range(ROUNDS):
            before, places = places, bent - self._bend(places)
            if np.abs(places - before).max(initial=0.0) < PRECISE:
                break
        return places

    def after(self, scale: float, offset: Reals) -> "Motion":
        """The same with the picture's pixels scaled and moved."""
        moved = np.array([[scale, 0.0, offset[0]], [0.0, scale, offset[1]], [0.0, 0.0, 1.0]])
        return replace(self, matrix=moved @ self.matrix)

    def _bend(self, places: Reals) -> Reals:
        waves = np.sin(2.0 * np.pi * (places @ self.frequencies.T) + self.phases)
        bend: Reals = waves @ self.amplitudes
        return bend


def sample_motion(movement: Movement, side: float, rng: np.random.Generator) -> Motion:
    """A random motion of a figure whose longer side is `side` pixels, about the picture's first corner."""
    scale, aspect = side * rng.uniform(*SCALES), rng.uniform(*ASPECTS)
    stretch = np.diag([scale * rng.choice([-1.0, 1.0]), scale * aspect, 1.0])
    angle = np.radians(rng.uniform(-MOST_DEGREES, MOST_DEGREES))
    turn = np.array([[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, 1.0]])
    slant, direction = SLANT * rng.uniform(0.6, 1.0), rng.uniform(0.0, 2.0 * np.pi)
    amplitudes, frequencies, phases = _sample_waves(rng)
    aslant = np.eye(3)
    if movement is Movement.PERSPECTIVE:
        aslant[2, :2] = slant * np.cos(direction), slant * np.sin(direction)
    if movement is not Movement.BENT:
        amplitudes = np.zeros_like(amplitudes)
    return Motion(turn @ stretch @ aslant, amplitudes, frequencies, phases)


def _sample_waves(rng: np.random.Generator) -> tuple[Reals, Reals, Reals]:
    """Amplitudes, frequencies and phases of transverse and longitudinal waves in random directions."""
    along, across = (rng.uniform(0.0, 2.0 * np.pi, WAVES) for _ in range(2))
    turns = rng.uniform(*WAVES_PER_SIDE, WAVES)
    size = rng.uniform(*STEEPNESS, WAVES) / (2.0 * np.pi * turns)
    phases = rng.uniform(0.0, 2.0 * np.pi, WAVES)
    frequencies = turns[:, None] * np.stack([np.cos(along), np.sin(along)], axis=1)
    return size[:, None] * np.stack([np.cos(across), np.sin(across)], axis=1), frequencies, phases


def place_in_picture(motion: Motion, alpha: Floats, size: int, rng: np.random.Generator) -> Motion:
    """The motion shrunk, where it is too large, and moved so that all of the figure lies in a square picture."""
    rows, columns = np.nonzero(alpha > 0.0)
    corners = motion(places_of(alpha, np.stack([columns, rows], axis=1) + 0.5))
    low, high = corners.min(axis=0) - 1.0, corners.max(axis=0) + 1.0
    scale = min(1.0, MOST_OF_PICTURE * size / float((high - low).max()))
    room = size - scale * (high - low)
    return motion.after(scale, rng.uniform(0.0, 1.0, 2) * room - scale * low)


def places_of(alpha: Floats, pixels: Reals) -> Reals:
    """Places of a figure from pixels (x, y) of it `[..., 2]`, a pixel's middle being at a half."""
    size = np.array(alpha.shape[::-1])
    places: Reals = (pixels - size / 2.0) / size.max()
    return places


def pixels_of(alpha: Floats, places: Reals) -> Reals:
    """The inverse of `places_of`."""
    size = np.array(alpha.shape[::-1])
    pixels: Reals = places * size.max() + size / 2.0
    return pixels


def draw_moved(figure: Figure, motion: Motion, size: int) -> Figure:
    """The figure where the motion takes it, in a transparent square of `size` pixels."""
    rows, columns = np.nonzero(figure.alpha > 0.0)
    there = motion(places_of(figure.alpha, np.stack([columns, rows], axis=1) + 0.5))
    low = np.clip(np.floor(there.min(axis=0)).astype(int) - 2, 0, size)
    high = np.clip(np.ceil(there.max(axis=0)).astype(int) + 3, 0, size)
    x, y = np.meshgrid(*(np.arange(first, last) + 0.5 for first, last in zip(low, high, strict=True)))
    under = pixels_of(figure.alpha, motion.inverse(np.stack([x, y], axis=-1)))
    down, right = (np.asarray(slope) for slope in np.gradient(under, axis=(0, 1)))
    planes = np.dstack([figure.colours * figure.alpha[..., None], figure.alpha])
    drawn = np.stack([_sampled(plane, under, down, right) for plane in np.moveaxis(planes, -1, 0)], axis=-1)
    alpha = drawn[..., 3].clip(0.0, 1.0)
    colours = (drawn[..., :3] / np.maximum(alpha, 1e-3)[..., None]).clip(0.0, 1.0)
    picture, mask = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32)
    window = slice(low[1], high[1]), slice(low[0], high[0])
    picture[window], mask[window] = colours, alpha
    return Figure(picture, mask)


def _sampled(plane: Floats, under: Reals, down: Reals, right: Reals) -> Reals:
    """A plane read under pixels of the picture, each at four places in it; 0 beyond the plane."""
    spline = spline_filter(np.pad(plane, BORDER_PX).astype(np.float64), ORDER)
    total = np.zeros(under.shape[:2])
    for dy in SUBPIXELS:
        for dx in SUBPIXELS:
            place = under + dy * down + dx * right - 0.5 + BORDER_PX
            total += map_coordinates(spline, [place[..., 1], place[..., 0]], order=ORDER, prefilter=False)
    mean: Reals = total / len(SUBPIXELS) ** 2
    return mean


def _projected(matrix: Reals, places: Reals) -> Reals:
    """Places `[..., 2]` through a homography."""
    numerators = places @ matrix[:2, :2].T + matrix[:2, 2]
    projected: Reals = numerators / (places @ matrix[2, :2] + matrix[2, 2])[..., None]
    return projected
