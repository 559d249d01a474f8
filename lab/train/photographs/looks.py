"""Other looks for views, in batches: colours by zones, stripes, light, and what cameras and files do to pictures."""

import math
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

ZONES = 4
SOFTNESS = (0.006, 0.05)
"""Width of the border between two zones, as a share of the picture's side."""
STRIPES_PER_SIDE = (4.0, 26.0)


def recolour(pictures: Tensor, strengths: list[float], rng: np.random.Generator) -> Tensor:
    """Pictures `[n, 3, height, width]`, 0..1, with colours mixed anew in every one of a few soft zones, and stripes in
    one or two of them; each by its strength, 0 (as it is) to 1."""
    count, _, height, width = pictures.shape
    shares = _zones(count, height, width, rng)
    mixes = np.stack([[_mix(strength, rng) for _ in range(ZONES)] for strength in strengths])
    mixed = torch.einsum("nzij,njhw->nzihw", torch.from_numpy(mixes).float(), pictures)
    striped = torch.stack([_stripes(strength, height, width, rng) for strength in strengths])
    coloured = (mixed * shares[:, :, None] * striped[:, :, None]).sum(1)
    return coloured.clamp(0.0, 1.0)


def _zones(count: int, height: int, width: int, rng: np.random.Generator) -> Tensor:
    """How much each pixel belongs to every zone `[n, zones, height, width]`, 1 in sum."""
    middles = torch.from_numpy(rng.uniform(0.1, 0.9, (count, ZONES, 2))).float()
    warp = torch.from_numpy(rng.normal(0.0, 0.04, (count, 1, 4, 4))).float()
    uneven = functional.interpolate(warp, size=(height, width), mode="bicubic", align_corners=False)
    y, x = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
    apart = (
        (x[None, None, None, :] - middles[..., 0, None, None]).square()
        + (y[None, None, :, None] - middles[..., 1, None, None]).square()
    ).sqrt()
    apart = apart + uneven * torch.from_numpy(rng.choice([-1.0, 1.0], (count, ZONES, 1, 1))).float()
    softness = torch.from_numpy(rng.uniform(*SOFTNESS, (count, 1, 1, 1))).float()
    return torch.softmax(-apart / softness, dim=1)


def _mix(strength: float, rng: np.random.Generator) -> np.ndarray:
    """A matrix `[3, 3]` of channels: a permutation of them and their lightness in a tint."""
    kept = np.eye(3)[rng.permutation(3)]
    tint = rng.uniform(0.15, 1.0, 3)
    tinted = np.outer(tint / tint.mean() * rng.uniform(0.45, 1.1), np.full(3, 1.0 / 3.0))
    share = rng.uniform(0.2, 1.0)
    other = rng.uniform(0.7, 1.2) * ((1.0 - share) * kept + share * tinted)
    mixed: np.ndarray = (1.0 - strength) * np.eye(3) + strength * other
    return mixed


def _stripes(strength: float, height: int, width: int, rng: np.random.Generator) -> Tensor:
    """Factors on the light of every zone `[zones, height, width]`."""
    factors = torch.ones(ZONES, height, width)
    if rng.uniform() > 0.8 * strength:
        return factors
    y, x = torch.arange(height) / height, torch.arange(width) / width
    for zone in range(int(rng.integers(1, 3))):
        angle, pitch, phase = rng.uniform(0.0, math.pi), rng.uniform(*STRIPES_PER_SIDE), rng.uniform(0.0, 6.3)
        wave = torch.sin(2.0 * math.pi * pitch * (math.cos(angle) * x[None] + math.sin(angle) * y[:, None]) + phase)
        factors[zone] = 1.0 - rng.uniform(0.25, 0.6) * (0.5 + float(rng.choice([1.0, 3.0])) * wave).clamp(0.0, 1.0)
    return factors


def photograph(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Pictures `[n, 3, height, width]`, 0..1, as cameras and files leave them: uneven light, contrast, gamma, a little
    blur and noise, and JPEG."""
    count, _, height, width = pictures.shape
    light = torch.from_numpy(rng.normal(0.0, 0.18, (count, 1, 3, 3))).float()
    light = functional.interpolate(light, size=(height, width), mode="bicubic", align_corners=False).exp()
    gamma = torch.from_numpy(np.exp(rng.normal(0.0, 0.22, (count, 1, 1, 1)))).float()
    contrast = torch.from_numpy(rng.uniform(0.55, 1.25, (count, 1, 1, 1))).float()
    level = torch.from_numpy(rng.normal(0.0, 0.06, (count, 3, 1, 1))).float()
    lit = (pictures * light).clamp(1e-4, 1.0).pow(gamma)
    seen = ((lit - 0.5) * contrast + 0.5 + level).clamp(0.0, 1.0)
    finished = [_stored(_blurred(one, rng), rng) for one in seen]
    noise = torch.from_numpy(np.abs(rng.normal(0.0, 0.02, (count, 1, 1, 1)))).float()
    grain = torch.from_numpy(rng.standard_normal((count, 3, height, width), np.float32))
    return (torch.stack(finished) + noise * grain).clamp(0.0, 1.0)


def _blurred(picture: Tensor, rng: np.random.Generator) -> Tensor:
    if rng.uniform() > 0.35:
        return picture
    side = round(picture.shape[-1] / rng.uniform(1.2, 2.5))
    small = functional.interpolate(picture[None], size=(side, side), mode="bilinear", antialias=True)
    return functional.interpolate(small, size=picture.shape[1:], mode="bilinear", align_corners=False)[0]


def _stored(picture: Tensor, rng: np.random.Generator) -> Tensor:
    if rng.uniform() > 0.15:
        return picture
    stream = BytesIO()
    levels = (picture * 255.0).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(levels).save(stream, "JPEG", quality=int(rng.integers(25, 90)))
    read = np.array(Image.open(stream))
    return torch.from_numpy(read).permute(2, 0, 1).float() / 255.0
