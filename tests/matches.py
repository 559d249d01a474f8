"""Maps for tests of what carries them."""

import torch

from core.matching.correspondence import Matches


def trusted_matches(places: torch.Tensor) -> Matches:
    """One region, all of it inside; `places` are [rows, columns, 2]."""
    shape = places.shape[:2]
    whole = torch.ones(shape)
    return Matches(places, whole, whole.bool(), whole, torch.zeros(shape, dtype=torch.long))
