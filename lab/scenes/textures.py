"""What a part looks like: a colour or a two-colour texture as a function of canonical part coordinates."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from lab.scenes.outlines import Floats
from lab.scenes.palette import Swatch, any_swatch, contrasting_swatch

LATTICE = 32
"""Side of the periodic lattice behind the noise texture."""


class Texture(StrEnum):
    """The kinds that the renderer draws and the texture classifier reads."""

    PLAIN = "plain"
    GRADIENT = "gradient"
    STRIPES = "stripes"
    DOTS = "dots"
    CHECKS = "checks"
    NOISE = "noise"


@dataclass(frozen=True)
class Appearance:
    """One part's looks. Lengths are in figure units (a figure is about 2 units long), angles in radians."""

    texture: Texture
    first: Swatch
    second: Swatch
    pitch: float
    angle: float
    phase: tuple[float, float]
    lattice_seed: int


def sample_appearance(rng: np.random.Generator, textured: bool) -> Appearance:
    """Random looks; parts too small to show a texture (`textured` false) are plain or a gradient."""
    weights = [0.34, 0.12, 0.18, 0.14, 0.12, 0.10] if textured else [0.8, 0.2, 0.0, 0.0, 0.0, 0.0]
    texture = list(Texture)[int(rng.choice(len(weights), p=weights))]
    first = any_swatch(rng)
    return Appearance(
        texture=texture,
        first=first,
        second=contrasting_swatch(rng, first),
        pitch=float(rng.uniform(0.20, 0.36)),
        angle=float(rng.choice([0.0, np.pi / 2, np.pi / 4, -np.pi / 4]) + rng.normal(0.0, 0.1)),
        phase=(float(rng.uniform()), float(rng.uniform())),
        lattice_seed=int(rng.integers(2**31)),
    )


def paint(appearance: Appearance, u: Floats, v: Floats, half_size: tuple[float, float]) -> Floats:
    """Colours of points of a part.

    `u`, `v` of shape `[points]` are canonical; `half_size` is the part's nominal half length and half
    height in figure units, the same for every body plan, so that a pattern has about one pitch on all
    parts and moves rigidly with the part. Returns sRGB `[points, 3]` in 0..1, before lighting.
    """
    first = np.asarray(appearance.first.rgb, np.float32)
    if appearance.texture is Texture.PLAIN:
        return np.broadcast_to(first, (*u.shape, 3))
    share = _share_of_second(appearance, u, v, half_size)[:, None]
    return first + share * (np.asarray(appearance.second.rgb, np.float32) - first)


def _share_of_second(appearance: Appearance, u: Floats, v: Floats, half_size: tuple[float, float]) -> Floats:
    """How much of the second colour each point takes, 0..1."""
    share: Floats
    cos, sin = np.float32(np.cos(appearance.angle)), np.float32(np.sin(appearance.angle))
    if appearance.texture is Texture.GRADIENT:
        return ramp_share(cos * u + sin * v)
    x, y = u * np.float32(half_size[0] / appearance.pitch), v * np.float32(half_size[1] / appearance.pitch)
    across = cos * x + sin * y + np.float32(appearance.phase[0])
    along = cos * y - sin * x + np.float32(appearance.phase[1])
    if appearance.texture in (Texture.STRIPES, Texture.CHECKS, Texture.DOTS):
        return pattern_share(appearance.texture, across, along)
    noise = _lattice_noise(across * 1.3, along * 1.3, appearance.lattice_seed)
    share = np.clip((noise - 0.5) * 6.0 + 0.5, 0.0, 1.0)
    return share


def ramp_share(along: Floats) -> Floats:
    """The second colour's share in a gradient, by the canonical coordinate along it."""
    ramp = np.clip(0.5 + 0.6 * along, 0.0, 1.0)
    share: Floats = (ramp * ramp * (3.0 - 2.0 * ramp)).astype(np.float32)
    return share


def pattern_share(texture: Texture, across: Floats, along: Floats) -> Floats:
    """The second colour's share, 0 or 1, in stripes, checks or dots; coordinates in pitches, of any shape."""
    share: Floats
    match texture:
        case Texture.STRIPES:
            share = ((across - np.floor(across)) < 0.5).astype(np.float32)
        case Texture.CHECKS:
            share = (np.floor(across * 1.4) + np.floor(along * 1.4)) % 2
        case Texture.DOTS:
            share = (_distance_to_dots(across, along) < 0.33).astype(np.float32)
        case _:
            raise ValueError(f"{texture} is no regular pattern")
    return share


def _distance_to_dots(across: Floats, along: Floats) -> Floats:
    """Distance, in pitches, to the nearest centre of a triangular grid."""
    row = np.floor(along)
    shifted = across + 0.5 * (row % 2)
    distance: Floats = np.hypot(shifted - np.floor(shifted) - 0.5, along - row - 0.5)
    return distance


def _lattice_noise(x: Floats, y: Floats, seed: int) -> Floats:
    """Smooth value noise in 0..1 with one knot per unit."""
    knots = np.random.Generator(np.random.PCG64(seed)).random((LATTICE, LATTICE), np.float32)
    column, row = np.floor(x), np.floor(y)
    fx, fy = x - column, y - row
    fx, fy = fx * fx * (3.0 - 2.0 * fx), fy * fy * (3.0 - 2.0 * fy)
    i, j = row.astype(np.int64) % LATTICE, column.astype(np.int64) % LATTICE
    i1, j1 = (i + 1) % LATTICE, (j + 1) % LATTICE
    top = knots[i, j] + fx * (knots[i, j1] - knots[i, j])
    bottom = knots[i1, j] + fx * (knots[i1, j1] - knots[i1, j])
    noise: Floats = top + fy * (bottom - top)
    return noise
