"""How well a map agrees with places whose counterparts are known: PCK, the share of correct keypoints, as SPair-71k
counts it (Min et al., arXiv 1908.10543).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from core.images.geometry import token_at
from core.matching.correspondence import Matches
from core.params.selection import Pin


def pck(matches: Matches, truth: Sequence[Pin], reference_mask: Float[Tensor, "height width"], alpha: float) -> float:
    """Share of `truth` whose target place matched within `alpha` times the longer side of the thing in the reference:
    of the box around `reference_mask`, a mask of the reference's own size. Raises ValueError without any truth.
    """
    if not truth:
        raise ValueError("no pair of places is given")
    height, width = reference_mask.shape
    y, x = (reference_mask > 0.5).nonzero(as_tuple=True)
    longer = max(int(x.max() - x.min()), int(y.max() - y.min())) + 1
    rows, columns = matches.similarity.shape
    token = token_at(torch.tensor([pin.target for pin in truth]), (rows, columns))
    missed = matches.positions.flatten(0, 1)[token] - torch.tensor([pin.reference for pin in truth])
    distance = (missed * torch.tensor([width, height])).norm(dim=-1)
    return float((distance <= alpha * longer).float().mean())
