"""Lightness of one picture, hue and colourfulness of another, in CIELAB (D65, CIE 15:2004)."""

import torch
from jaxtyping import Float
from torch import Tensor

from core.types import Picture

TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
"""Linear sRGB to XYZ (IEC 61966-2-1)."""
EDGE = 6.0 / 29.0
"""Where the cube root of CIELAB's scale goes over into a line."""
BISECTIONS = 9


def keep_lightness(coloured: Picture, lightness_of: Picture) -> Picture:
    """`coloured` with CIELAB's L* of the other picture. Colours that a screen cannot show lose colourfulness, not
    lightness, by bisection towards grey."""
    lightness, chroma = to_lab(lightness_of)[:1], to_lab(coloured)[1:]
    low, high = torch.zeros_like(lightness), torch.ones_like(lightness)
    share = high
    for _ in range(BISECTIONS):
        linear = _linear_from_lab(torch.cat([lightness, share * chroma]))
        shows = ((linear >= 0.0) & (linear <= 1.0)).all(dim=0, keepdim=True)
        low, high = torch.where(shows, share, low), torch.where(shows, high, share)
        share = (low + high) / 2.0
    return _encoded(_linear_from_lab(torch.cat([lightness, low * chroma])).clamp(0.0, 1.0))


def to_lab(picture: Picture) -> Picture:
    """L* 0 to 100, a*, b*."""
    linear = torch.where(picture <= 0.04045, picture / 12.92, ((picture + 0.055) / 1.055) ** 2.4)
    xyz = torch.einsum("ij,jhw->ihw", _matrix(picture), linear) / _white(picture)
    f = torch.where(xyz > EDGE**3, xyz.clamp(min=1e-9) ** (1.0 / 3.0), xyz / (3.0 * EDGE**2) + 4.0 / 29.0)
    return torch.stack([116.0 * f[1] - 16.0, 500.0 * (f[0] - f[1]), 200.0 * (f[1] - f[2])])


def _linear_from_lab(lab: Picture) -> Picture:
    middle = (lab[0] + 16.0) / 116.0
    f = torch.stack([middle + lab[1] / 500.0, middle, middle - lab[2] / 200.0])
    xyz = torch.where(f > EDGE, f**3, 3.0 * EDGE**2 * (f - 4.0 / 29.0)) * _white(lab)
    return torch.einsum("ij,jhw->ihw", torch.linalg.inv(_matrix(lab)), xyz)


def _encoded(linear: Picture) -> Picture:
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=1e-9) ** (1.0 / 2.4) - 0.055)


def _matrix(like: Tensor) -> Float[Tensor, "3 3"]:
    return torch.tensor(TO_XYZ, dtype=like.dtype, device=like.device)


def _white(like: Tensor) -> Float[Tensor, "3 1 1"]:
    return _matrix(like).sum(dim=1)[:, None, None]
