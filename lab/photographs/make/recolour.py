"""Other colours for a figure, by zones: no one map of colours does it, only places do."""

import colorsys

import numpy as np
from numpy.typing import NDArray

from lab.photographs.make.sources import OPAQUE, Figure, Floats

ZONES = 4
CANDIDATES = 64
"""Places among which the middles of zones are chosen as far apart as they can be."""
SOFTNESS = 0.012
"""Width of the border between two zones, as a share of the figure's longer side."""
PERMUTED = 0.4
"""Share of a zone's colours that are its own with the channels permuted; the rest is its lightness in one tint."""
PERMUTATIONS = np.array([(1, 2, 0), (2, 0, 1), (2, 1, 0), (1, 0, 2), (0, 2, 1)])
BRIGHTNESS = 1.5
"""Factor of tinted lightness, so that a saturated tint is no darker than what it replaces."""
STRIPES_PER_SIDE = (14.0, 24.0)
STRIPE_DEPTH = 0.55
"""Share of its light that a stripe takes."""
STRIPE_EDGE = 6.0
"""Steepness of a stripe's edge: the higher, the sharper."""


def recolour(figure: Figure, rng: np.random.Generator) -> Floats:
    """New colours `[height, width, 3]`, 0..1: in every zone a permutation of channels and a tint, and one striped."""
    height, width = figure.alpha.shape
    span = max(height, width)
    rows, columns = np.indices((height, width), np.float32)
    shares = zone_shares(figure.alpha, rng)
    lightness = figure.colours.mean(axis=-1, keepdims=True)
    chosen = rng.permutation(len(PERMUTATIONS))[:ZONES]
    first_hue = rng.uniform()
    colours = np.zeros_like(figure.colours)
    for zone, share in enumerate(shares):
        tint = colorsys.hsv_to_rgb((first_hue + zone / ZONES) % 1.0, rng.uniform(0.5, 0.9), 1.0)
        tinted = BRIGHTNESS * lightness * np.array(tint, np.float32)
        mixed = PERMUTED * figure.colours[..., PERMUTATIONS[chosen[zone]]] + (1.0 - PERMUTED) * tinted
        colours += share[..., None] * mixed
    angle, pitch = rng.uniform(0.0, np.pi), span / rng.uniform(*STRIPES_PER_SIDE)
    wave = np.sin(2.0 * np.pi * (np.cos(angle) * columns + np.sin(angle) * rows) / pitch)
    stripes = np.clip(0.5 + 0.5 * STRIPE_EDGE * wave, 0.0, 1.0) * shares[0]
    darkened: Floats = (colours * (1.0 - STRIPE_DEPTH * stripes[..., None])).clip(0.0, 1.0).astype(np.float32)
    return darkened


def zone_shares(alpha: Floats, rng: np.random.Generator) -> Floats:
    """How much every pixel belongs to each zone, `[zones, height, width]`, 1 in sum: soft cells around places on the
    figure that lie far from one another."""
    height, width = alpha.shape
    span = max(height, width)
    places = np.argwhere(alpha > OPAQUE)
    middles = spread(places[rng.integers(0, len(places), CANDIDATES)].astype(np.float32))
    rows, columns = np.indices((height, width), np.float32)
    apart = np.stack([np.hypot(rows - row, columns - column) / span for row, column in middles])
    shares = np.exp((apart.min(axis=0) - apart) / SOFTNESS)
    divided: Floats = (shares / shares.sum(axis=0)).astype(np.float32)
    return divided


def spread(candidates: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """As many of the candidates as there are zones: the first, and always the one farthest from those before."""
    chosen = [candidates[0]]
    while len(chosen) < ZONES:
        nearest = np.min([np.hypot(*(candidates - place).T) for place in chosen], axis=0)
        chosen.append(candidates[int(nearest.argmax())])
    return chosen
