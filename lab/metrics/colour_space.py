"""sRGB to CIE Lab and back, and the colour difference CIEDE2000.

The constants are those of `core.images.color`. The arithmetic is apart: figures are judged in float64 on any list of
colours, pictures are painted in the network's precision, on its device, without colours out of range.

Sharma, Wu, Dalal, "The CIEDE2000 color-difference formula" (Color Research and Application 30, 2005); the numbers in
comments are their equations.
"""

import numpy as np
from numpy.typing import NDArray

from core.images.color import EDGE, TO_XYZ

Reals = NDArray[np.float64]

MATRIX = np.array(TO_XYZ)
WHITE = MATRIX.sum(axis=1)
"""D65."""


def srgb_to_lab(colours: NDArray[np.generic]) -> Reals:
    """`[..., 3]` sRGB, bytes or reals in 0..1, to L (0..100), a, b."""
    scale = 255.0 if colours.dtype == np.uint8 else 1.0
    encoded = colours.astype(np.float64) / scale
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    ratio = linear @ MATRIX.T / WHITE
    root = np.where(ratio > EDGE**3, np.cbrt(ratio), ratio * (1 / EDGE) ** 2 / 3 + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], axis=-1)


def lab_to_srgb(colours: Reals) -> Reals:
    """The inverse of `srgb_to_lab`, `[..., 3]` in 0..1; colours that sRGB has not are clipped."""
    lightness, a, b = np.moveaxis(colours, -1, 0)
    y = (lightness + 16.0) / 116.0
    root = np.stack([y + a / 500.0, y, y - b / 200.0], axis=-1)
    ratio = np.where(root > EDGE, root**3, (root - 4 / 29) * 3 * EDGE**2)
    linear = np.clip(ratio * WHITE @ np.linalg.inv(MATRIX).T, 0.0, 1.0)
    encoded: Reals = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.clip(encoded, 0.0, 1.0)


def ciede2000(first: Reals, second: Reals) -> Reals:
    """Difference of Lab colours `[..., 3]`, all parametric factors 1."""
    lightness, a, b = np.moveaxis(np.stack(np.broadcast_arrays(first, second)), -1, 0)
    mean_chroma = np.hypot(a, b).mean(axis=0)
    grey_shift = 0.5 * (1.0 - np.sqrt(mean_chroma**7 / (mean_chroma**7 + 25.0**7)))  # (4)
    a = a * (1.0 + grey_shift)  # (5)
    chroma = np.hypot(a, b)
    hue = np.degrees(np.arctan2(b, a)) % 360.0  # (7)
    return _weighted(lightness, chroma, hue)


def _weighted(lightness: Reals, chroma: Reals, hue: Reals) -> Reals:
    """The difference from both colours' lightness, adjusted chroma and hue in degrees, `[2, ...]` each."""
    grey = chroma[0] * chroma[1] == 0.0
    turn = hue[1] - hue[0]
    apart = np.abs(turn) > 180.0
    turn = np.where(grey, 0.0, np.where(apart, turn - 360.0 * np.sign(turn), turn))  # (10)
    hue_step = 2.0 * np.sqrt(chroma[0] * chroma[1]) * _sine(turn / 2.0)  # (11)
    total = hue[0] + hue[1]
    wrapped = np.where(total < 360.0, total + 360.0, total - 360.0)
    mean_hue = np.where(grey, total, np.where(apart, wrapped, total) / 2.0)  # (14)
    mean_chroma, mean_lightness = chroma.mean(axis=0), lightness.mean(axis=0)
    tone = (
        1.0
        - 0.17 * _cosine(mean_hue - 30.0)
        + 0.24 * _cosine(2.0 * mean_hue)
        + 0.32 * _cosine(3.0 * mean_hue + 6.0)
        - 0.20 * _cosine(4.0 * mean_hue - 63.0)
    )  # (15)
    squared = (mean_lightness - 50.0) ** 2
    step_l = (lightness[1] - lightness[0]) / (1.0 + 0.015 * squared / np.sqrt(20.0 + squared))  # (18)
    step_c = (chroma[1] - chroma[0]) / (1.0 + 0.045 * mean_chroma)  # (19)
    step_h = hue_step / (1.0 + 0.015 * mean_chroma * tone)  # (20)
    blue = 30.0 * np.exp(-(((mean_hue - 275.0) / 25.0) ** 2))  # (16)
    rotation = -2.0 * np.sqrt(mean_chroma**7 / (mean_chroma**7 + 25.0**7)) * _sine(2.0 * blue)  # (17), (21)
    squares = step_l**2 + step_c**2 + step_h**2 + rotation * step_c * step_h
    difference: Reals = np.sqrt(np.maximum(squares, 0.0))  # (22)
    return difference


def _sine(degrees: Reals) -> Reals:
    return np.sin(np.radians(degrees))


def _cosine(degrees: Reals) -> Reals:
    return np.cos(np.radians(degrees))
