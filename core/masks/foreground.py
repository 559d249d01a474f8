"""The thing in a photograph, without a word about it: by a trained network, along the picture's edges, with how sure
that is.

Where a picture shows several things, the one is meant that the other picture of the job shows as well. Where SAM is
loaded, it draws the outline of what was found.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from core.errors import EmptyMaskError
from core.images.canvas import working_size
from core.images.geometry import resize_image, unit_range
from core.masks.edges import Pixels, follow_edges
from core.models.efficientnet_lite import STRIDE
from core.models.salient import SalientFinder
from core.models.segmenters import Segmenter, soft_weights

LEAST_CONFIDENCE = 0.35
"""Below it nothing counts as found."""
LEAST_SHARE = 0.15
"""Of the largest thing's evidence, that another thing has at least."""
MOST_THINGS = 4
FRINGE_CELLS = 4
"""How far beyond a thing, on the network's grid, what is less likely still belongs to it."""
ALIKE = 0.08
"""Things whose likeness to the other picture's is lower by less than this, as a cosine, are meant together."""
AGREES = 0.6
"""Intersection over union with what was found, from which SAM's outline is taken."""


@dataclass(frozen=True)
class Foreground:
    """What was found in a picture."""

    weights: Float[Tensor, "height width"]
    """0 to 1, of the picture's size."""
    confidence: float
    """The intersection over union with the truth that the network expects, 0 to 1."""


@dataclass(frozen=True)
class _Thing:
    """One of the things in a picture, on the network's grid."""

    chances: Float[Tensor, "rows columns"]
    feature: Float[Tensor, " channels"]
    """Of length 1."""


def find_thing(
    finder: SalientFinder, segmenter: Segmenter | None, picture: Pixels, other: Tensor | None, role: str
) -> Foreground:
    """The thing in `picture`; of several, the one that is most like a thing in `other`, a picture of any size.

    Raises EmptyMaskError where nothing stands out clearly enough.
    """
    things = _things(finder, picture)
    if len(things) > 1 and other is not None:
        things = _shared(things, _things(finder, other))
    chances = torch.stack([thing.chances for thing in things]).amax(0) if things else torch.zeros(1, 1)
    sure = expected_iou(chances)
    if sure < LEAST_CONFIDENCE:
        raise EmptyMaskError(
            f"nothing stands out clearly in the {role} (confidence {sure:.2f}): send a mask, or select it by a box, "
            "points or a text"
        )
    soft = follow_edges(chances, picture.to(chances.device)).to(picture.device)
    weights = soft_weights(torch.logit(soft, eps=1e-6))
    return Foreground(_outlined(segmenter, picture, weights), sure)


def expected_iou(chances: Float[Tensor, "rows columns"]) -> float:
    """Expected intersection over expected union of what is more likely than not with the truth, were the places
    independent: 0 to 1."""
    inside = chances > 0.5
    both, missed = float(chances[inside].sum()), float(chances[~inside].sum())
    union = float(inside.sum()) + missed
    return both / union if bool(inside.any()) else 0.0


def _things(finder: SalientFinder, picture: Pixels) -> list[_Thing]:
    """The parts of the picture's foreground that lie apart, the one with most evidence first."""
    size = working_size(picture.shape[1], picture.shape[2], resolution=finder.side_px, multiple=STRIDE)
    chances, features = finder.read(resize_image(picture.to(finder.device), size))
    left, parts = chances > 0.5, list[Tensor]()
    while len(parts) < MOST_THINGS and bool(left.any()):
        parts.append(_reached(left, int((chances * left).argmax())))
        left = left & ~parts[-1]
    evidence = [float(chances[part].sum()) for part in parts]
    order = sorted(range(len(parts)), key=lambda number: -evidence[number])
    kept = [parts[number] for number in order if evidence[number] >= LEAST_SHARE * max(evidence)]
    every = torch.stack(kept).any(0) if kept else left
    return [_Thing(chances * (_spread(part) & ~(every & ~part)), _pooled(features, part)) for part in kept]


def _reached(cells: Bool[Tensor, "rows columns"], start: int) -> Bool[Tensor, "rows columns"]:
    """The cells that touch each other, one after another from `start` on, also at corners."""
    found = torch.zeros_like(cells)
    found.view(-1)[start] = True
    while True:
        grown = _spread(found, 1) & cells
        if torch.equal(grown, found):
            return found
        found = grown


def _spread(cells: Bool[Tensor, "rows columns"], steps: int = FRINGE_CELLS) -> Bool[Tensor, "rows columns"]:
    """Those cells and the ones so near to them."""
    return F.max_pool2d(cells[None, None].float(), 2 * steps + 1, stride=1, padding=steps)[0, 0] > 0.5


def _pooled(
    features: Float[Tensor, "channels feature_rows feature_columns"], part: Bool[Tensor, "rows columns"]
) -> Float[Tensor, " channels"]:
    """Their mean in a part, of length 1."""
    share = F.interpolate(part[None, None].float(), size=features.shape[1:], mode="area")[0, 0]
    return F.normalize((features * share).sum((1, 2)), dim=0)


def _shared(here: list[_Thing], there: list[_Thing]) -> list[_Thing]:
    """Of the things here those that are most like one there; all of them where nothing is there."""
    if not there:
        return here
    likeness = [max(float(one.feature @ other.feature) for other in there) for one in here]
    return [one for one, alike in zip(here, likeness, strict=True) if alike >= max(likeness) - ALIKE]


def _outlined(
    segmenter: Segmenter | None, picture: Pixels, weights: Float[Tensor, "height width"]
) -> Float[Tensor, "height width"]:
    """As SAM draws the thing in the box of what was found, where it agrees with it by and large."""
    if segmenter is None:
        return weights
    inside = weights > 0.5
    height, width = inside.shape
    rows, columns = torch.nonzero(inside.any(1))[:, 0], torch.nonzero(inside.any(0))[:, 0]
    box = (int(columns[0]) / width, int(rows[0]) / height, (int(columns[-1]) + 1) / width, (int(rows[-1]) + 1) / height)
    drawn = segmenter.outline(unit_range(picture), box=box)
    agreement = float((inside & (drawn > 0.5)).sum()) / float((inside | (drawn > 0.5)).sum())
    return drawn if agreement >= AGREES else weights
