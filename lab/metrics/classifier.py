"""Reads a part's texture and colours off a picture, by fitting the renderer's own textures to it.

The part's canonical coordinates and its light are known, so colours are read without shading, and a pattern is known
up to its pitch, angle and phase. First the pitches and angles whose lowest harmonics explain most, whatever the phase;
then the patterns themselves at these, over all phases.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lab.metrics.colour_space import Reals
from lab.scenes.textures import Texture, pattern_share, ramp_share

PLAIN_CONTRAST = 0.12
"""Distance in sRGB (0..1) between the two colours of a part, below which it is plain; the renderer's differ by .35."""
GOOD_FIT = 0.6
"""Least share of the variance that a pattern explains where it is read as that pattern."""
MOST_PIXELS = 500
"""Larger parts are read off an even choice of this many pixels."""
SHORTLIST = 6
PHASES = np.arange(8) / 8.0
PITCHES = np.linspace(0.20, 0.36, 7)
ANGLES = np.arange(24) * np.pi / 24.0
NEIGHBOURS = np.stack(np.meshgrid(*([[-1.0, 0.0, 1.0]] * 4)), axis=-1).reshape(-1, 4) * [0.014, 0.066, 0.07, 0.07]
"""Half the distance between two searched settings: pitch, angle and both phases."""
REFINEMENTS = (1.0, 0.5)

HARMONICS: dict[Texture, NDArray[np.float64]] = {
    Texture.STRIPES: np.array([[1.0, 0.0]]),
    Texture.CHECKS: np.array([[0.7, 0.7], [0.7, -0.7]]),
    Texture.DOTS: np.array([[1.0, 0.5], [1.0, -0.5], [0.0, 1.0]]),
}
"""Strongest frequencies of each pattern as (across, along), in cycles per pitch."""


PERIODS: dict[Texture, tuple[float, float]] = {
    Texture.STRIPES: (1.0, 0.0),
    Texture.CHECKS: (10.0 / 7.0, 10.0 / 7.0),
    Texture.DOTS: (1.0, 2.0),
}
"""Shifts, across and along, after which a pattern repeats; stripes look alike under every shift along them."""


@dataclass(frozen=True)
class Reading:
    """What a part looks like. A plain part has one colour twice."""

    texture: Texture
    first: Reals
    """sRGB, 0..1, without light."""
    second: Reals
    fit: float
    """Share of the variance that the texture explains, 0..1; 1 for plain parts."""


def read_texture(colours: Reals, uv: Reals, half_size: tuple[float, float]) -> Reading:
    """Reads a part of at least 8 pixels.

    `colours` `[pixels, 3]`: sRGB without light; `uv` `[pixels, 2]`: canonical coordinates; `half_size`: the part's
    nominal half length and height in figure units.
    """
    chosen = np.linspace(0, len(colours) - 1, min(len(colours), MOST_PIXELS)).round().astype(int)
    colours, uv = colours[chosen], uv[chosen]
    mean = colours.mean(axis=0)
    share = _along_main_axis(colours)
    if _spread(share) < PLAIN_CONTRAST:
        return Reading(Texture.PLAIN, mean, mean, 1.0)
    fits = {Texture.GRADIENT: _fit_ramp(share, uv)}
    places = uv * np.asarray(half_size)
    fits |= {texture: _fit_pattern(texture, share, places) for texture in HARMONICS}
    texture, (fit, template) = max(fits.items(), key=lambda entry: entry[1][0])
    if fit < GOOD_FIT:
        texture, template = Texture.NOISE, (share > np.median(share)).astype(np.float64)
    first, second = _two_colours(colours, template)
    return Reading(texture, first, second, fit)


def _along_main_axis(colours: Reals) -> Reals:
    """Every pixel's place along the direction in which the colours vary most, centred."""
    centred = colours - colours.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    place: Reals = centred @ directions[:, -1]
    return place


def _spread(share: Reals) -> float:
    """Distance between the means of the upper and lower part, split where they are farthest apart in Otsu's sense."""
    ordered = np.sort(share)
    count = np.arange(1, len(ordered))
    below = np.cumsum(ordered)[:-1] / count
    above = (ordered.sum() - np.cumsum(ordered)[:-1]) / (len(ordered) - count)
    between = count * (len(ordered) - count) * (above - below) ** 2
    best = int(between.argmax())
    return float(above[best] - below[best])


def _explained(share: Reals, templates: Reals) -> Reals:
    """Squared correlation of `share` `[pixels]` with every template `[templates, pixels]`."""
    centred = templates - templates.mean(axis=-1, keepdims=True)
    norm = np.sqrt((centred * centred).sum(axis=-1) * (share @ share))
    squared: Reals = np.square(centred @ share / np.maximum(norm, 1e-12))
    return squared


def _fit_ramp(share: Reals, uv: Reals) -> tuple[float, Reals]:
    along = np.cos(ANGLES)[:, None] * uv[:, 0] + np.sin(ANGLES)[:, None] * uv[:, 1]
    templates = ramp_share(along.astype(np.float32)).astype(np.float64)
    fits = _explained(share, templates)
    best = int(fits.argmax())
    return float(fits[best]), templates[best]


def _fit_pattern(texture: Texture, share: Reals, places: Reals) -> tuple[float, Reals]:
    """How much the best pattern of a kind explains, and its share of the second colour."""
    angle, pitch = (grid.ravel() for grid in np.meshgrid(ANGLES, PITCHES))
    across, along = _turned(places, pitch[:, None], angle[:, None])
    power = np.zeros(len(angle))
    for wave in HARMONICS[texture]:
        power += np.abs(np.exp(2j * np.pi * (wave[0] * across + wave[1] * along)) @ share) ** 2
    listed = np.argsort(-power)[:SHORTLIST]
    phases = np.stack(np.meshgrid(*(PHASES * period for period in PERIODS[texture])), axis=-1).reshape(-1, 2)
    settings = np.concatenate(
        [
            np.repeat(np.stack([pitch, angle], axis=1)[listed], len(phases), axis=0),
            np.tile(phases, (len(listed), 1)),
        ],
        axis=1,
    )
    fit, template, best = _best_of(texture, share, places, settings)
    for scale in REFINEMENTS:
        fit, template, best = _best_of(texture, share, places, best + scale * NEIGHBOURS)
    return fit, template


def _best_of(texture: Texture, share: Reals, places: Reals, settings: Reals) -> tuple[float, Reals, Reals]:
    """Fit, template and setting of the best of `settings` `[settings, 4]`: pitch, angle and two phases."""
    pitch, angle, first, second = settings.T[:, :, None]
    across, along = _turned(places, pitch, angle)
    templates = pattern_share(texture, (across + first).astype(np.float32), (along + second).astype(np.float32))
    fits = _explained(share, templates.astype(np.float64))
    best = int(fits.argmax())
    return float(fits[best]), templates[best].astype(np.float64), settings[best]


def _turned(places: Reals, pitch: Reals, angle: Reals) -> tuple[Reals, Reals]:
    """Coordinates across and along the pattern, in pitches: `[settings, pixels]` each."""
    x, y = places[:, 0] / pitch, places[:, 1] / pitch
    return np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x


def _two_colours(colours: Reals, template: Reals) -> tuple[Reals, Reals]:
    """Colours where the template is 0 and where it is 1, by least squares."""
    design = np.stack([1.0 - template, template], axis=1)
    solution, *_ = np.linalg.lstsq(design, colours, rcond=None)
    return np.clip(solution[0], 0.0, 1.0), np.clip(solution[1], 0.0, 1.0)
