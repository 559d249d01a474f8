"""Landmarks: places of the target whose counterparts in the reference are known.

A landmark fixes its own token exactly. Around it, within a radius, tokens are drawn towards its counterpart: a token as
far from the landmark as r may match about as far from the counterpart as r, in whatever direction, so that turned and
mirrored pictures follow too; which place of those it takes is left to its features and its neighbours. Beyond the
radius nothing changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from core.images.geometry import AffineMap, extent, token_at, token_places
from core.matching.correspondence import Correspondence
from core.params.selection import Landmark
from core.types import Canvas

STRETCH = 1.5
"""How much larger the reference's thing may be than the target's, before the landmark pulls."""
PULL = 4.0
"""Cosine that a match loses for each token, squared, that it lies too far from where the landmark wants it."""
MAX_PENALTY = 16.0


@dataclass(frozen=True)
class CanvasLandmarks:
    """Landmarks on the two canvases, each place (x, y) a fraction of its canvas."""

    targets: Float[Tensor, "landmarks 2"]
    references: Float[Tensor, "landmarks 2"]
    radius: float
    """Fraction of the canvas's longer side."""

    def cropped(self, here: AffineMap, there: AffineMap, size: tuple[int, int]) -> "CanvasLandmarks":
        """The same landmarks in crop windows, `here` onto the target and `there` onto the reference, of canvases of
        `size` (height, width)."""
        here, there = here.to(self.targets), there.to(self.references)
        height, width = size
        window = torch.maximum(here.linear[0].norm() * width, here.linear[1].norm() * height)
        radius = self.radius * max(size) / float(window)
        return CanvasLandmarks(here.inverse()(self.targets), there.inverse()(self.references), radius)

    def tokens(self, grid: tuple[int, int]) -> tuple[Int[Tensor, " landmarks"], Int[Tensor, " landmarks"]]:
        """The target token and the reference token under every landmark."""
        return token_at(self.targets, grid), token_at(self.references, grid)

    def penalty(self, grid: tuple[int, int]) -> tuple[Bool[Tensor, " tokens"], Float[Tensor, "near tokens"]]:
        """Which target tokens are within the radius of a landmark, and what each match of theirs loses, in cosines."""
        centres = token_places(grid, self.targets)
        scale = extent(grid, centres)
        away = torch.cdist(centres, self.targets * scale)
        weight = (1.0 - (away / max(1.0, self.radius * max(grid))) ** 2).clamp(min=0.0)
        near = (weight > 0.0).any(-1)
        missed = torch.cdist(centres, self.references * scale)
        lost = torch.zeros(int(near.sum()), len(centres), device=centres.device)
        for landmark in range(len(self.targets)):
            too_far = (missed[None, :, landmark] - STRETCH * away[near, landmark][:, None] - 0.5).clamp(min=0.0)
            lost += weight[near, landmark][:, None] * (PULL * too_far**2).clamp(max=MAX_PENALTY)
        return near, lost


def place_landmarks(
    landmarks: Sequence[Landmark],
    radius: float,
    target: Canvas,
    reference: Canvas,
) -> CanvasLandmarks:
    """Landmarks given on the two pictures, on their canvases; `radius` is a fraction of the picture's longer side."""
    device = target.mask.device
    boxes = [torch.tensor(canvas.box, device=device) for canvas in (target, reference)]
    given = [[landmark.target for landmark in landmarks], [landmark.reference for landmark in landmarks]]
    here, there = (
        box[:2] + torch.tensor(places, device=device) * box[2:] for box, places in zip(boxes, given, strict=True)
    )
    height, width = target.mask.shape
    longer = max(target.box[2] * width, target.box[3] * height) / max(height, width)
    return CanvasLandmarks(here, there, radius * longer)


def fix_landmarks(found: Correspondence, landmarks: CanvasLandmarks) -> Correspondence:
    """The same map with the token under every landmark at its counterpart: a refined map leads from the landmark's very
    place to its counterpart."""
    fixed, counterparts = landmarks.tokens(found.grid)
    index, refined = found.index.clone(), found.refined
    index[fixed] = counterparts
    if refined is not None:
        places = refined.places.clone()
        tokens = extent(found.grid, places)
        here, there = landmarks.targets.to(places) * tokens, landmarks.references.to(places) * tokens
        away = here - token_places(found.grid, places)[fixed]
        places[fixed] = there - torch.einsum("lij,lj->li", refined.slopes[fixed], away)
        refined = replace(refined, places=places)
    return replace(found, index=index, refined=refined)
