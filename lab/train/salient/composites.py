"""Pictures with the outline of their thing: figures set on grounds so that the seam is no cue.

The figure takes on the ground's light and tint, casts a shadow, may stand on a plate or another flat thing that is not
part of it, and the whole then goes through one camera: blur, noise, levels, JPEG.
"""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import affine_transform, gaussian_filter

from lab.train.salient.figures import Figure, Floats, choose, refill
from lab.train.salient.grounds import crop, draw_ground, shift_colours

REAL = 0.3
"""Share of photographs as they are, where some have masks."""
NOTHING = 0.04
"""Share of pictures without a thing."""
PLATED, SHADOWED, REFILLED, RECOLOURED, CLUTTERED = 0.2, 0.45, 0.3, 0.5, 0.25
SHARES = (0.28, 1.15)
"""Of the picture's side, that a figure's longer side takes."""


@dataclass(frozen=True)
class Masked:
    """A photograph with its thing."""

    picture: NDArray[np.uint8]
    """`[height, width, 3]`."""
    mask: NDArray[np.uint8]
    """`[height, width]`, 255 where the thing is."""


@dataclass(frozen=True)
class Sources:
    """What composites are made of."""

    figures: tuple[list[Figure], ...]
    """Kinds of figures."""
    shares: tuple[float, ...]
    """How often each kind is drawn; they add up to 1."""
    photographs: list[Floats]
    """Grounds and textures."""
    things: list[Masked]
    """Photographs whose thing is known."""


@dataclass(frozen=True)
class Example:
    """A picture and its truth."""

    picture: NDArray[np.uint8]
    """`[side, side, 3]`."""
    mask: NDArray[np.uint8]
    """`[side, side]`, 255 where the thing is."""


def draw_example(sources: Sources, side: int, rng: np.random.Generator) -> Example:
    """A composite of `side` pixels, or a photograph."""
    if sources.things and rng.uniform() < REAL:
        return cropped(sources.things[int(rng.integers(len(sources.things)))], side, rng)
    ground = draw_ground(sources.photographs, side, rng)
    if rng.uniform() < NOTHING:
        return Example(photographed(ground, rng), np.zeros((side, side), np.uint8))
    kind = sources.figures[int(rng.choice(len(sources.figures), p=sources.shares))]
    figure = _dressed(choose(kind, rng), sources, rng)
    colours, alpha = _placed(figure, side, rng)
    if rng.uniform() < CLUTTERED:
        ground = _cluttered(ground, sources, side, rng)
    if rng.uniform() < PLATED:
        ground = _plated(ground, alpha, sources, rng)
    colours = _lit_alike(colours, alpha, ground, rng)
    if rng.uniform() < SHADOWED:
        ground = _shadowed(ground, alpha, rng)
    soft = gaussian_filter(alpha, float(rng.uniform(0.0, 0.9)))
    picture = ground * (1.0 - soft) + colours * soft
    return Example(photographed(picture, rng), np.rint(alpha * 255.0).astype(np.uint8))


def cropped(thing: Masked, side: int, rng: np.random.Generator) -> Example:
    """A part of a photograph that shows most of its thing, stretched a little, with its colours shifted."""
    rows, columns = np.nonzero(thing.mask > 127)
    corners = []
    for length, low, high in zip(
        thing.mask.shape, (rows.min(), columns.min()), (rows.max(), columns.max()), strict=True
    ):
        cut = 0.08 * (high - low) if rng.uniform() < 0.2 else 0.0
        start, end = rng.uniform(0.0, 1.0, 2) ** (2.0 if rng.uniform() < 0.5 else 0.5)
        corners.append((start * (low + cut), length - end * (length - 1 - high + cut)))
    (top, bottom), (left, right) = corners
    box = (left, top, right, bottom)
    picture, mask = (
        Image.fromarray(plane).resize((side, side), Image.Resampling.BILINEAR, box=box)
        for plane in (thing.picture, thing.mask)
    )
    colours = (np.asarray(picture, np.float32) / np.float32(255.0)).transpose(2, 0, 1)
    weights = np.asarray(mask)
    if rng.uniform() < 0.5:
        colours, weights = colours[:, :, ::-1], weights[:, ::-1]
    return Example(photographed(shift_colours(colours, rng, 0.05), rng), weights.copy())


def _dressed(figure: Figure, sources: Sources, rng: np.random.Generator) -> Figure:
    """With other colours, or filled with a photograph."""
    drawn = rng.uniform()
    if drawn < REFILLED:
        side = max(figure.alpha.shape)
        texture = crop(sources.photographs, side, rng)[:, : figure.alpha.shape[0], : figure.alpha.shape[1]]
        return refill(figure, texture, float(rng.uniform(0.0, 1.0)))
    if drawn < REFILLED + RECOLOURED:
        return Figure(shift_colours(figure.colours, rng, 0.4), figure.alpha)
    return figure


def _placed(figure: Figure, side: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Colours and alpha in a square, mirrored, scaled, turned and moved; large ones may leave the picture."""
    height, width = figure.alpha.shape
    scale = side * rng.uniform(*SHARES) ** 1.2 / max(height, width)
    if rng.uniform() < 0.5:
        scale = min(scale, 0.8 * side / max(height, width))
    stretch = np.exp(rng.normal(0.0, 0.12, 2)) * scale * (1.0, rng.choice((-1.0, 1.0)))
    angle = rng.normal(0.0, 0.2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    back = np.linalg.inv(turn @ np.diag(stretch))
    extent = np.abs(turn @ np.diag(stretch)) @ (height, width)
    room = side - extent
    middle = np.where(
        room > 0,
        extent / 2.0 + rng.uniform(-0.1, 1.1, 2) * np.abs(room),
        side / 2.0 + rng.uniform(-0.3, 0.3, 2) * extent,
    )
    offset = np.array([height, width]) / 2.0 - back @ middle
    planes = np.concatenate([figure.colours * figure.alpha, figure.alpha[None]])
    if scale < 0.8:
        planes = gaussian_filter(planes, (0.0, 0.4 / scale, 0.4 / scale))
    drawn = np.stack([affine_transform(plane, back, offset, (side, side), order=1) for plane in planes])
    alpha = drawn[3].clip(0.0, 1.0)
    return (drawn[:3] / np.maximum(alpha, 0.02)).clip(0.0, 1.0), alpha


def _lit_alike(colours: Floats, alpha: Floats, ground: Floats, rng: np.random.Generator) -> Floats:
    """With a share of the ground's brightness and tint, and light from one side."""
    weight = max(float(alpha.sum()), 1.0)
    own = (colours * alpha).sum((1, 2)) / weight
    other = ground.mean((1, 2))
    gain = np.clip((other + 0.1) / (own + 0.1), 0.4, 2.5) ** rng.uniform(0.0, 0.5)
    rows, columns = np.mgrid[: alpha.shape[0], : alpha.shape[1]] / alpha.shape[0] - 0.5
    angle, amount = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.0, 0.6)
    light = 1.0 + amount * (np.cos(angle) * rows + np.sin(angle) * columns)
    lit: Floats = (colours * gain[:, None, None] * light).astype(np.float32).clip(0.0, 1.0)
    return lit


def _shadowed(ground: Floats, alpha: Floats, rng: np.random.Generator) -> Floats:
    down, right = rng.integers(0, 14), rng.integers(-14, 15)
    cast = np.roll(alpha, (down, right), (0, 1))
    cast = gaussian_filter(cast, float(rng.uniform(2.0, 10.0)))
    darker: Floats = ground * (1.0 - np.float32(rng.uniform(0.15, 0.6)) * cast)
    return darker


def _plated(ground: Floats, alpha: Floats, sources: Sources, rng: np.random.Generator) -> Floats:
    """With a disc or a board, seen aslant, under the figure."""
    rows, columns = np.nonzero(alpha > 0.5)
    if len(rows) == 0:
        return ground
    side = len(alpha)
    bottom, left, right = float(np.quantile(rows, 0.97)), columns.min(), columns.max()
    wide = max(8.0, (right - left) * rng.uniform(0.5, 0.95))
    high = wide * rng.uniform(0.25, 1.0)
    y, x = np.mgrid[:side, :side]
    y, x = (y - (bottom - high * rng.uniform(0.1, 0.9))) / high, (x - (left + right) / 2.0) / wide
    radius = np.hypot(y, x) if rng.uniform() < 0.7 else np.maximum(np.abs(y), np.abs(x))
    inside = np.clip((1.0 - radius) * wide / 1.5, 0.0, 1.0)
    colour = np.clip(rng.uniform(0.05, 1.0) ** 0.4 + rng.normal(0.0, 0.06, 3), 0.0, 1.0)[:, None, None]
    surface = colour * (1.0 - 0.25 * np.clip(radius - rng.uniform(0.6, 0.9), 0.0, 0.2) / 0.2) * np.ones_like(ground)
    if rng.uniform() < 0.2:
        surface = crop(sources.photographs, side, rng)
    plated: Floats = (ground * (1.0 - inside) + surface * inside).astype(np.float32)
    return plated


def _cluttered(ground: Floats, sources: Sources, side: int, rng: np.random.Generator) -> Floats:
    """With a small or blurred thing that is not meant."""
    kind = sources.figures[int(rng.choice(len(sources.figures), p=sources.shares))]
    colours, alpha = _placed(choose(kind, rng), side, rng)
    shrink = rng.uniform(0.15, 0.35)
    matrix, offset = np.eye(2) / shrink, -rng.uniform(0.0, side * (1.0 - shrink), 2) / shrink
    planes = [affine_transform(plane, matrix, offset, order=1) for plane in (*colours, alpha)]
    alpha = gaussian_filter(planes[3], float(rng.uniform(0.5, 3.0)))
    cluttered: Floats = ground * (1.0 - alpha) + np.stack(planes[:3]) * alpha
    return cluttered


def photographed(picture: Floats, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Bytes `[side, side, 3]` of a picture through one camera."""
    tint = (1.0 + rng.normal(0.0, 0.05, (3, 1, 1))).astype(np.float32)
    picture = picture.clip(0.0, 1.0) ** np.float32(np.exp(rng.normal(0.0, 0.15))) * tint
    if rng.uniform() < 0.5:
        picture = gaussian_filter(picture, (0.0, *([float(rng.uniform(0.2, 1.2))] * 2)))
    if rng.uniform() < 0.5:
        picture = picture + rng.normal(0.0, rng.uniform(0.0, 0.04), picture.shape).astype(np.float32)
    levels = np.rint(picture.clip(0.0, 1.0) * 255.0).astype(np.uint8).transpose(1, 2, 0)
    if rng.uniform() < 0.5:
        stream = BytesIO()
        Image.fromarray(levels).save(stream, "JPEG", quality=int(rng.integers(40, 96)))
        levels = np.asarray(Image.open(stream))
    return levels
