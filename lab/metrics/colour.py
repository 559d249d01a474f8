"""Semantic-region colour accuracy: does every part wear the colours that it wears in the truth?"""

from dataclasses import dataclass

import numpy as np

from lab.metrics.colour_space import ciede2000, srgb_to_lab
from lab.metrics.figure import NOTHING, Figure
from lab.metrics.regions import Bytes, Flags, blurred_inside, counted_parts, true_looks
from lab.pairs import Pair
from lab.scenes.textures import Texture

LIMIT = 10.0
"""CIEDE2000 below which a pixel has the right colour."""
PATTERNED = (Texture.STRIPES, Texture.DOTS, Texture.CHECKS, Texture.NOISE)
"""Textures that are blurred before colours are compared; whether the pattern is right is another figure."""


@dataclass(frozen=True)
class ColourScore:
    """How near the colours of one result are to the truth's."""

    accuracy: Figure
    """Share of counted pixels with the right colour, mean over parts."""
    de2000: Figure
    """Mean CIEDE2000 to the truth, mean over parts."""


def score_colour(result: Bytes, pair: Pair, token_pitch_px: float) -> ColourScore:
    """Judges a picture of the target's size; `token_pitch_px`: side of the finest attention token, in pixels."""
    looks = true_looks(pair)
    shares, means = [], []
    for part in counted_parts(pair):
        sigma = token_pitch_px if looks[part.group].texture in PATTERNED else 0.0
        colours = [_colours(picture, part.whole, part.counted, sigma) for picture in (result, pair.truth.image)]
        difference = ciede2000(srgb_to_lab(colours[0]), srgb_to_lab(colours[1]))
        shares.append(float((difference < LIMIT).mean()))
        means.append(float(difference.mean()))
    if not shares:
        return ColourScore(NOTHING, NOTHING)
    return ColourScore(Figure(float(np.mean(shares))), Figure(float(np.mean(means))))


def _colours(
    picture: Bytes, whole: Flags, counted: Flags, sigma: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """sRGB of the counted pixels in 0..1, `[pixels, 3]`."""
    unit = picture / 255.0
    return (blurred_inside(unit, whole, sigma) if sigma else unit)[counted]
