"""Figures of a result against the truth, for photographs whose right answer is known to the pixel.

All are over the target's mask at the target's own size. Colours need the right places; sharpness needs work at the
picture's own size; the correlation of edges needs both.
"""

import math

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter

from lab.metrics.colour_space import Reals
from lab.metrics.figure import NOTHING, Figure
from lab.metrics.regions import Bytes, Flags

TRUTH_FIGURES = ("within_12", "delta_e", "sharpness", "edge_correlation", "ring", "outside_max")
INSIDE = 250
"""Levels of the mask above this are inside the figure, away from its soft edge."""
EDGE = 127
"""Levels above this are on the figure's side of its outline."""
LIMIT = 12.0
"""CIE76 below which a pixel has the right colour."""
RING_PX = 4
"""Pixels as near as this to the outline, on either side of it, are the ring."""
NOISE_SIGMA_PX = 1.0
"""Of the blur before gradients are compared by their size, so that noise does not pass for sharpness."""
EDGE_SIGMA = 1 / 128
"""Of the blur before gradients are compared by their places, as a share of the figure's longer side."""
TRUNCATE = 4.0
"""Sigmas at which the blur's kernel ends, scipy's default."""
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])
"""D65. Both to four places and the line below rounded too, as CIELAB is mostly written down: figures of others compare
to the digit. `lab.metrics.colour_space` has them exactly."""

Window = tuple[slice, slice]


def score_truth(result: Bytes, truth: Bytes, target: Bytes, mask: Bytes) -> dict[str, Figure]:
    """The figures of `TRUTH_FIGURES`; pictures `[height, width, 3]` and the mask `[height, width]` are of one size.

    within_12: share of pixels inside whose colour is nearer to the truth's than CIE76 12. delta_e: mean CIE76 inside.
    sharpness: mean gradient magnitude inside, over the truth's. edge_correlation: of gradient magnitudes, -1 to 1.
    ring: mean CIE76 around the outline. outside_max: greatest change in levels, 0 to 255, where the mask is 0.
    """
    inside, within, outside = mask > INSIDE, mask > EDGE, mask == 0
    changed = NOTHING
    if outside.any():
        changed = Figure(float(np.abs(result[outside].astype(np.int16) - target[outside]).max()))
    if not within.any():
        return dict.fromkeys(TRUTH_FIGURES, NOTHING) | {"outside_max": changed}
    sigma = _longer_way(inside) * EDGE_SIGMA
    window = _window(within, math.ceil(TRUNCATE * max(sigma, NOISE_SIGMA_PX)) + RING_PX + 2)
    inside, within, result, truth = inside[window], within[window], result[window], truth[window]
    ring = binary_dilation(within, iterations=RING_PX) & ~binary_erosion(within, iterations=RING_PX)
    around = Figure(float(_differences(result[ring], truth[ring]).mean()))
    figures = dict.fromkeys(TRUTH_FIGURES, NOTHING) | {"ring": around, "outside_max": changed}
    if not inside.any():
        return figures
    difference = _differences(result[inside], truth[inside])
    return {
        **figures,
        "within_12": Figure(float((difference < LIMIT).mean())),
        "delta_e": Figure(float(difference.mean())),
        "sharpness": _sharpness(result, truth, inside),
        "edge_correlation": _edge_correlation(result, truth, inside, sigma),
    }


def cie76(colours: Bytes) -> Reals:
    """CIELAB of sRGB bytes `[..., 3]`, of which CIE76 is the distance."""
    encoded = colours / 255.0
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    ratio = linear @ TO_XYZ.T / WHITE
    x, y, z = np.moveaxis(np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _differences(colours: Bytes, others: Bytes) -> Reals:
    distance: Reals = np.sqrt(np.square(cie76(others) - cie76(colours)).sum(axis=-1))
    return distance


def _sharpness(result: Bytes, truth: Bytes, inside: Flags) -> Figure:
    own, true = (_gradient(picture, NOISE_SIGMA_PX)[inside].mean() for picture in (result, truth))
    return Figure(float(own / true)) if true > 0.0 else NOTHING


def _edge_correlation(result: Bytes, truth: Bytes, inside: Flags, sigma: float) -> Figure:
    own, true = (_gradient(picture, sigma)[inside] for picture in (result, truth))
    if np.ptp(own) == 0.0 or np.ptp(true) == 0.0:
        return NOTHING
    return Figure(float(np.corrcoef(own, true)[0, 1]))


def _gradient(picture: Bytes, sigma: float) -> Reals:
    """Magnitude of the gradient of the mean of the three channels, blurred first."""
    grey = (picture / 255.0).mean(axis=-1)
    down, right = np.gradient(gaussian_filter(grey, sigma, truncate=TRUNCATE) if sigma else grey)
    steepness: Reals = np.hypot(down, right)
    return steepness


def _longer_way(inside: Flags) -> float:
    """Pixels between the outermost ones inside, along the longer side of their box; 0 where there are none."""
    rows, columns = np.nonzero(inside)
    return float(max(np.ptp(rows), np.ptp(columns))) if len(rows) else 0.0


def _window(within: Flags, margin: int) -> Window:
    """The figure's box and so many pixels more, beyond which nothing changes any figure."""
    rows, columns = (np.flatnonzero(within.any(axis=axis)) for axis in (1, 0))
    top, left = max(0, rows[0] - margin), max(0, columns[0] - margin)
    return slice(top, rows[-1] + margin + 1), slice(left, columns[-1] + margin + 1)
