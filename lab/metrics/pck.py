"""PCK, the share of correct keypoints: how well matches agree with places whose counterparts are known.

As SPair-71k counts it (Min et al., arXiv 1908.10543): a match is right within `alpha` times the longer side of the
thing in the reference. The thing's side is taken from its mask.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from core.images.geometry import extent, token_at, token_places
from core.matching.correspondence import Matches
from core.params.selection import Landmark


def share_within(distance: NDArray[np.floating[Any]], side: int, alpha: float) -> float:
    """Share of distances, in pixels, of at most `alpha` times `side`; NaN where there are none."""
    return float((distance / side <= alpha).mean())


def longer_side(inside: NDArray[np.bool_]) -> int:
    """The longer side, in pixels, of the box around what is marked `[height, width]`; something has to be."""
    rows, columns = np.nonzero(inside)
    return int(max(np.ptp(rows), np.ptp(columns))) + 1


def pck(
    matches: Matches, truth: Sequence[Landmark], reference_mask: Float[Tensor, "height width"], alpha: float
) -> float:
    """Share of the known pairs of places, `truth`, that `matches` has right.

    A place outside the target's mask has the match of the nearest token inside it. `reference_mask`: weights 0 to 1 of
    the reference's own size. Raises ValueError without any truth.
    """
    if not truth:
        raise ValueError("no pair of places is given")
    height, width = reference_mask.shape
    rows, columns = matches.similarity.shape
    grid, inside = (rows, columns), matches.inside.flatten()
    asked = torch.tensor([landmark.target for landmark in truth])
    centres = token_places(grid, asked)
    under = token_at(asked, grid)
    nearest = torch.cdist(asked * extent(grid, asked), centres).masked_fill(~inside, torch.inf).argmin(dim=1)
    token = torch.where(inside[under], under, nearest)
    true = torch.tensor([landmark.reference for landmark in truth])
    distance = ((matches.positions.flatten(0, 1)[token] - true) * torch.tensor([width, height])).norm(dim=-1)
    return share_within(distance.numpy(), longer_side((reference_mask > 0.5).numpy()), alpha)
