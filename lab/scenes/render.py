"""Pictures of scenes with, for every pixel, the part, the canonical coordinates in it and the share of the figure.

Drawn at twice the size and averaged 2 x 2. A pixel's label is the part that most of its four samples show
(the first one on a tie), its canonical coordinates the mean over those samples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lab.scenes.backgrounds import draw_backdrop
from lab.scenes.lighting import Light, shade
from lab.scenes.outlines import TABLE_SIZE, Floats, Profile, Rosette
from lab.scenes.parts import PART_ID, Affine, PlacedPart
from lab.scenes.scene import Scene, border_points, figure_to_picture
from lab.scenes.textures import paint

OVERSAMPLING = 2

SHADOW_STRENGTH = 0.35
"""How much of the background's light the figure's soft shadow takes."""

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Rendering:
    """One picture with its truth; all arrays `[size, size, ...]`."""

    image: Bytes
    """sRGB, 3 channels."""
    part: Bytes
    """Index into `PARTS`; 0 is the background."""
    uv: Floats
    """Canonical coordinates in the part, 2 channels, about -1..1; 0 in the background."""
    coverage: Floats
    """Share of the pixel that shows the figure, 0..1."""

    @property
    def weights(self) -> Floats:
        """The figure's mask as methods are given it: 1 inside, 0 outside."""
        return (self.part > 0).astype(np.float32)


@dataclass
class _Samples:
    """What every sample of the enlarged picture shows; `[side, side]` each."""

    part: Bytes
    u: Floats
    v: Floats
    shade: Floats


def render(scene: Scene, size: int = 128) -> Rendering:
    """The picture of a scene at `size` x `size` pixels."""
    samples = _trace(scene, size * OVERSAMPLING)
    figure = samples.part > 0
    coverage = _average(figure.astype(np.float32))
    colours = _shadowed_backdrop(scene, coverage).repeat(OVERSAMPLING, 0).repeat(OVERSAMPLING, 1)
    _paint_parts(scene, samples, colours)
    image = np.clip(_average(colours) * 255.0 + 0.5, 0.0, 255.0).astype(np.uint8)
    part, uv = _vote(samples)
    return Rendering(image, part, uv, coverage)


def _trace(scene: Scene, side: int) -> _Samples:
    """Draws the parts back to front into empty sample buffers."""
    plane = (side, side)
    samples = _Samples(np.zeros(plane, np.uint8), *(np.zeros(plane, np.float32) for _ in range(3)))
    to_picture = figure_to_picture(scene)
    for part in scene.parts:
        _trace_part(part, to_picture, scene.light, samples)
    return samples


def _trace_part(part: PlacedPart, to_picture: Affine, light: Light, samples: _Samples) -> None:
    """Overwrites the samples that the part covers."""
    side = samples.part.shape[0]
    turn, offset = to_picture[:, :2] * side, to_picture[:, 2] * side
    corners = border_points(part) @ turn.T + offset
    (left, top), (right, bottom) = np.floor(corners.min(axis=0) - 1), np.ceil(corners.max(axis=0) + 1)
    rows = slice(int(np.clip(top, 0, side)), int(np.clip(bottom, 0, side)))
    columns = slice(int(np.clip(left, 0, side)), int(np.clip(right, 0, side)))
    axes = turn @ part.to_figure[:, :2]
    inverse = np.linalg.inv(axes)
    shift = inverse @ (turn @ part.to_figure[:, 2] + offset)
    x = np.arange(columns.start, columns.stop, dtype=np.float32)[None, :] + np.float32(0.5)
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + np.float32(0.5)
    u = np.float32(inverse[0, 0]) * x + (np.float32(inverse[0, 1]) * y - np.float32(shift[0]))
    v = np.float32(inverse[1, 0]) * x + (np.float32(inverse[1, 1]) * y - np.float32(shift[1]))
    if part.bend:
        v = v - np.float32(part.bend) * u * u
    inside, round_u, round_v, border = _measure(part, u, v)
    directions = axes / np.linalg.norm(axes, axis=0) * part.relief
    slope_x = np.float32(directions[0, 0]) * round_u + np.float32(directions[0, 1]) * round_v
    slope_y = np.float32(directions[1, 0]) * round_u + np.float32(directions[1, 1]) * round_v
    samples.part[rows, columns][inside] = PART_ID[part.kind.name]
    samples.u[rows, columns][inside] = u[inside]
    samples.v[rows, columns][inside] = v[inside]
    samples.shade[rows, columns][inside] = shade(light, slope_x, slope_y, border)


def _measure(part: PlacedPart, u: Floats, v: Floats) -> tuple[NDArray[np.bool_], Floats, Floats, Floats]:
    """Which samples a part covers and, for those `[points]`: how far the surface turns along `u` and `v`
    (-1..1), and the distance to the border in figure units."""
    length, height = (float(np.linalg.norm(part.to_figure[:, axis])) for axis in (0, 1))
    if isinstance(part.outline, Rosette):
        return _measure_rosette(part.outline, u, v, np.float32(min(length, height)))
    outline: Profile = part.outline
    entry = np.clip((u + 1.0) * ((TABLE_SIZE - 1) / 2.0), 0, TABLE_SIZE - 1).astype(np.int32)
    upper, lower = outline.upper[entry], outline.lower[entry]
    inside = (np.abs(u) < 1.0) & (v > -upper) & (v < lower)
    if outline.notch:
        inside &= u < 1.0 - outline.notch * (1.0 - np.abs(v) / np.maximum(upper, 1e-3))
    u, v, upper, lower = u[inside], v[inside], upper[inside], lower[inside]
    round_v = (2.0 * v - (lower - upper)) / np.maximum(upper + lower, 1e-3)
    across = np.minimum(v + upper, lower - v) * np.float32(height)
    along = (1.0 - np.abs(u)) * np.float32(length)
    return inside, 0.5 * u * u * u, 0.85 * round_v, np.minimum(across, along)


def _measure_rosette(
    outline: Rosette, u: Floats, v: Floats, unit: np.float32
) -> tuple[NDArray[np.bool_], Floats, Floats, Floats]:
    """As `_measure`, for a radius that depends on the angle; `unit` is the radius of the unit circle."""
    distance = np.hypot(u, v)
    near = distance < 1.0
    angle = np.arctan2(v[near], u[near])
    entry = ((angle / np.pi + 1.0) * ((TABLE_SIZE - 1) / 2.0)).astype(np.int32)
    radius = outline.radius[entry]
    within = distance[near] < radius
    inside = near
    inside[near] = within
    distance, radius = distance[inside], radius[within]
    return inside, 0.8 * u[inside], 0.8 * v[inside], (radius - distance) * unit


def _shadowed_backdrop(scene: Scene, coverage: Floats) -> Floats:
    """The background under a soft shadow that lies away from the light; `[size, size, 3]`."""
    size = coverage.shape[0]
    small = Image.fromarray(coverage).resize((16, 16), Image.Resampling.BOX)
    soft = small.resize((size, size), Image.Resampling.BICUBIC)
    dx, dy = (0.05 * size * component for component in scene.light.direction[:2])
    moved = soft.transform((size, size), Image.Transform.AFFINE, (1.0, 0.0, dx, 0.0, 1.0, dy))
    shadow = np.clip(np.asarray(moved), 0.0, 1.0)
    backdrop: Floats = draw_backdrop(scene.backdrop, size) * (1.0 - np.float32(SHADOW_STRENGTH) * shadow)[..., None]
    return backdrop


def _paint_parts(scene: Scene, samples: _Samples, colours: Floats) -> None:
    """Colours the samples of every part, in place; `colours` is `[side, side, 3]`."""
    kinds = {part.kind.name: part.kind for part in scene.parts}
    flat = colours.reshape(-1, 3)
    labels = samples.part.ravel()
    u, v, shading = (plane.ravel() for plane in (samples.u, samples.v, samples.shade))
    for name, kind in kinds.items():
        where = np.flatnonzero(labels == PART_ID[name])
        looks = scene.appearances[kind.group]
        flat[where] = np.clip(paint(looks, u[where], v[where], kind.half_size) * shading[where, None], 0.0, 1.0)


def _average(plane: Floats) -> Floats:
    """Mean over blocks of 2 x 2 samples."""
    mean: Floats = 0.25 * (plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2])
    return mean


def _vote(samples: _Samples) -> tuple[Bytes, Floats]:
    """Labels and canonical coordinates of pixels from their 2 x 2 samples."""
    a, b, c, d = (samples.part[i::2, j::2] for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)))
    rest = np.where((b == c) | (b == d), b, np.where(c == d, c, a))
    part = np.where((a == b) | (a == c) | (a == d), a, rest)
    voters = np.stack([plane == part for plane in (a, b, c, d)]).astype(np.float32)
    weights = voters / voters.sum(axis=0)
    planes = [
        sum(
            weight * plane[i::2, j::2] for weight, (i, j) in zip(weights, ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True)
        )
        for plane in (samples.u, samples.v)
    ]
    return part, np.stack(planes, axis=-1).astype(np.float32)
