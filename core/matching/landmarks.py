"""Pinned correspondences: the caller says of a few places where in the reference they belong.

A pin holds its own token exactly. Around it, within a radius, tokens are drawn towards its counterpart: a token as far
from the pin as r may match about as far from the counterpart as r, in whatever direction, so that turned and mirrored
pictures follow too; which place of those it takes is left to its features and its neighbours. Beyond the radius nothing
changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from core.images.geometry import AffineMap, extent, token_at, token_places
from core.params.selection import Pin

STRETCH = 1.5
"""How much larger the reference's thing may be than the target's, before the pin pulls."""
PULL = 4.0
"""Cosine that a match loses for each token, squared, that it lies too far from where the pin wants it."""
MOST_LOST = 16.0


@dataclass(frozen=True)
class CanvasPins:
    """Pins on the two canvases, each place (x, y) a fraction of its canvas."""

    targets: Float[Tensor, "pins 2"]
    references: Float[Tensor, "pins 2"]
    radius: float
    """Fraction of the canvas's longer side."""

    def through(self, here: AffineMap, there: AffineMap, size: tuple[int, int]) -> "CanvasPins":
        """The same pins where the canvases, of `size`, are seen through windows."""
        here, there = here.to(self.targets), there.to(self.references)
        height, width = size
        window = torch.maximum(here.linear[0].norm() * width, here.linear[1].norm() * height)
        radius = self.radius * max(size) / float(window)
        return CanvasPins(here.inverse()(self.targets), there.inverse()(self.references), radius)

    def tokens(self, grid: tuple[int, int]) -> tuple[Int[Tensor, " pins"], Int[Tensor, " pins"]]:
        """The target token and the reference token under every pin."""
        return token_at(self.targets, grid), token_at(self.references, grid)

    def penalty(self, grid: tuple[int, int]) -> tuple[Bool[Tensor, " tokens"], Float[Tensor, "near tokens"]]:
        """Which target tokens are within the radius of a pin, and what each match of theirs loses, in cosines."""
        centres = token_places(grid, self.targets)
        scale = extent(grid, centres)
        away = torch.cdist(centres, self.targets * scale)
        weight = (1.0 - (away / max(1.0, self.radius * max(grid))) ** 2).clamp(min=0.0)
        near = (weight > 0.0).any(-1)
        missed = torch.cdist(centres, self.references * scale)
        lost = torch.zeros(int(near.sum()), len(centres), device=centres.device)
        for pin in range(len(self.targets)):
            too_far = (missed[None, :, pin] - STRETCH * away[near, pin][:, None] - 0.5).clamp(min=0.0)
            lost += weight[near, pin][:, None] * (PULL * too_far**2).clamp(max=MOST_LOST)
        return near, lost


def place_pins(
    pins: Sequence[Pin], radius: float, reference_box: tuple[float, float, float, float], device: torch.device
) -> CanvasPins | None:
    """Pins given on the two pictures, on the canvases. The target fills its canvas, the reference lies in
    `reference_box` (left, top, width, height). None without pins."""
    if not pins:
        return None
    left, top, width, height = reference_box
    references = torch.tensor([pin.reference for pin in pins], device=device)
    offset, size = torch.tensor([left, top], device=device), torch.tensor([width, height], device=device)
    return CanvasPins(torch.tensor([pin.target for pin in pins], device=device), offset + size * references, radius)
