"""Named colours, and the jitter that makes two reds differ."""

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]
"""sRGB, each channel 0..1."""

NAMED: dict[str, Colour] = {
    "red": (0.84, 0.15, 0.16),
    "orange": (0.96, 0.53, 0.12),
    "yellow": (0.98, 0.85, 0.22),
    "lime": (0.62, 0.83, 0.20),
    "green": (0.16, 0.56, 0.25),
    "teal": (0.10, 0.56, 0.56),
    "cyan": (0.36, 0.80, 0.90),
    "blue": (0.15, 0.32, 0.77),
    "purple": (0.50, 0.23, 0.66),
    "pink": (0.96, 0.55, 0.71),
    "brown": (0.48, 0.29, 0.16),
    "cream": (0.96, 0.91, 0.77),
    "white": (0.96, 0.96, 0.96),
    "grey": (0.55, 0.56, 0.58),
    "black": (0.12, 0.12, 0.14),
}

JITTER = 0.035
"""Standard deviation of each channel around the named colour: small enough for the name to stay true."""

MIN_CONTRAST = 0.35
"""Least RGB distance between the two colours of a texture, so that stripes are seen after shading."""


@dataclass(frozen=True)
class Swatch:
    """A colour and what a caption calls it."""

    name: str
    rgb: Colour


def swatch(rng: np.random.Generator, name: str) -> Swatch:
    """A jittered instance of a named colour."""
    rgb = np.clip(np.asarray(NAMED[name]) + rng.normal(0.0, JITTER, 3), 0.02, 0.98)
    return Swatch(name, (float(rgb[0]), float(rgb[1]), float(rgb[2])))


def any_swatch(rng: np.random.Generator) -> Swatch:
    """A jittered instance of a random named colour."""
    return swatch(rng, list(NAMED)[int(rng.integers(len(NAMED)))])


def contrasting_swatch(rng: np.random.Generator, other: Swatch) -> Swatch:
    """A random colour that differs from `other` by at least `MIN_CONTRAST`."""
    while True:
        candidate = any_swatch(rng)
        if float(np.linalg.norm(np.subtract(candidate.rgb, other.rgb))) >= MIN_CONTRAST:
            return candidate
