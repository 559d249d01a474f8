"""Views of a figure whose correspondence is exact: bends, perspective and affine maps, in batches.

A motion takes places of a view (x, y), fractions of its sides, to places of the figure's own picture:
`q = L (p - 1/2) + o`, `q / (1 + a . q) + c`, and a bend, `+ sum of sines`, whose inverse is found by fixed-point
iteration. Views are framed as the sampler frames them: the figure fills a square window around it.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.images.geometry import CROP_FILL

WAVES = 2
STEEPNESS = 0.22
"""Of a wave at most; all together stay below 1, so that nothing folds over."""
WAVES_PER_SIDE = (0.6, 1.4)
SLANT = 0.5
"""Of perspective, by the picture's side: how much nearer one edge is than the middle, at most."""
STRONGEST_DEGREES, ASPECT, SHEAR = 25.0, 0.12, 0.06
"""Of a view: turned at most so far; standard deviations of the logarithm of its aspect and of its shear."""
FILL, SHIFT = 0.08, 0.02
"""Standard deviations of the window's size, as a share, and of its place, in sides of the view."""
SMALL = (0.45, 0.8)
SMALL_SHARE = 0.12
"""How large figures are in the few views that they do not fill."""
ROUNDS = 12


@dataclass(frozen=True)
class Motion:
    """Of `n` views each."""

    linear: Tensor
    """L, `[n, 2, 2]`."""
    offset: Tensor
    """o, `[n, 2]`."""
    slant: Tensor
    """a, `[n, 2]`."""
    middle: Tensor
    """c, `[n, 2]`."""
    amplitudes: Tensor
    """Of the waves, `[n, waves, 2]`."""
    frequencies: Tensor
    """In radians, `[n, waves, 2]`."""
    phases: Tensor
    """`[n, waves]`."""

    def __call__(self, places: Tensor) -> Tensor:
        """Places of the figure's picture under places of the view `[n, points, 2]`."""
        flat = (places - 0.5) @ self.linear.transpose(1, 2) + self.offset[:, None]
        slanted = flat / (1.0 + (flat @ self.slant[:, :, None])) + self.middle[:, None]
        return slanted + self._bend(slanted)

    def inverse(self, places: Tensor) -> Tensor:
        """Places of the view that show places of the figure's picture `[n, points, 2]`."""
        turned = self._flat(places) - self.offset[:, None]
        seen: Tensor = turned @ torch.linalg.inv(self.linear).transpose(1, 2) + 0.5
        return seen

    def framed(self, figures: list[Tensor], rng: np.random.Generator) -> "Motion":
        """The same with the window laid around the figures, given by some of their places `[points, 2]` each."""
        linear, offset = self.linear.clone(), self.offset.clone()
        for number, places in enumerate(figures):
            one = self._only(number)
            flat = (one._flat(places[None])[0]) @ torch.linalg.inv(one.linear[0]).T
            low, high = flat.amin(0), flat.amax(0)
            small = rng.uniform() < SMALL_SHARE
            fill = rng.uniform(*SMALL) if small else CROP_FILL * math.exp(rng.normal(0.0, FILL))
            size = float((high - low).max()) / fill
            shift = torch.from_numpy(rng.normal(0.0, SHIFT, 2)).float()
            linear[number] = size * one.linear[0]
            offset[number] = one.linear[0] @ ((low + high) / 2.0 + size * shift)
        return Motion(linear, offset, self.slant, self.middle, self.amplitudes, self.frequencies, self.phases)

    def _only(self, number: int) -> "Motion":
        every = (self.linear, self.offset, self.slant, self.middle, self.amplitudes, self.frequencies, self.phases)
        return Motion(*(plane[number : number + 1] for plane in every))

    def _flat(self, places: Tensor) -> Tensor:
        """Before the perspective and the bend."""
        slanted = places
        for _ in range(ROUNDS):
            slanted = places - self._bend(slanted)
        from_middle = slanted - self.middle[:, None]
        return from_middle / (1.0 - from_middle @ self.slant[:, :, None])

    def _bend(self, places: Tensor) -> Tensor:
        return torch.sin(places @ self.frequencies.transpose(1, 2) + self.phases[:, None]) @ self.amplitudes


def sample_motion(strengths: list[float], rng: np.random.Generator) -> Motion:
    """Random motions about the middle of a picture, one for every strength, 0 (barely moved) to 1; mirrored half of the
    time. Their windows are still to be laid (`Motion.framed`)."""
    rows = [_sample_one(strength, rng) for strength in strengths]
    planes = (torch.from_numpy(np.stack(plane)).float() for plane in zip(*rows, strict=True))
    return Motion(*planes)


def _sample_one(strength: float, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    angle = math.radians(STRONGEST_DEGREES) * strength * rng.uniform(-1.0, 1.0)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    aspect = math.exp(rng.normal(0.0, ASPECT * strength))
    stretch = np.diag([rng.choice([-1.0, 1.0]), aspect]) + np.array(
        [[0.0, rng.normal(0.0, SHEAR * strength)], [0.0, 0.0]]
    )
    direction = rng.uniform(0.0, 2.0 * np.pi)
    tilt = SLANT * strength * rng.uniform() * (rng.uniform() < 0.5)
    slant = tilt * np.array([math.cos(direction), math.sin(direction)])
    bent = STEEPNESS * strength * (rng.uniform() < 0.6)
    along, across = rng.uniform(0.0, 2.0 * np.pi, (2, WAVES))
    turns = rng.uniform(*WAVES_PER_SIDE, WAVES)
    size = bent * rng.uniform(0.2, 1.0, WAVES) / (2.0 * np.pi * turns)
    frequencies = 2.0 * np.pi * turns * np.stack([np.cos(along), np.sin(along)])
    amplitudes = size * np.stack([np.cos(across), np.sin(across)])
    middle = np.full(2, 0.5)
    return turn @ stretch, np.zeros(2), slant, middle, amplitudes.T, frequencies.T, rng.uniform(0.0, 2.0 * np.pi, WAVES)
