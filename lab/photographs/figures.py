"""Distances of a result to its target's structure and its reference's appearance, where no truth is known.

They trade off, so all are always given: the target unchanged has the best structure and the worst appearance.
"""

import torch
from torch import Tensor
from torch.nn import functional

from core.images.geometry import token_weights
from lab.photographs.features import Descriptors

FIGURES = ("self_similarity", "gram", "dino_i")


def self_similarity(result: Descriptors, target: Descriptors) -> float:
    """Structure, lower is better: mean squared difference of the cosines between all pairs of patches, by attention
    keys (Splice, arXiv 2201.00424, eq. 6). 0 for the target itself."""
    own, other = (_cosines(side.keys) for side in (result, target))
    return float(functional.mse_loss(own, other))


def gram(result: Descriptors, reference: Descriptors, inside: Tensor, there: Tensor) -> float:
    """Appearance inside the masks, lower is better: difference of the Gram matrices of unit tokens (Gatys et al., CVPR
    2016), Frobenius norm, relative to the reference's. 0 for the reference itself."""
    own = _gram(result.tokens, token_weights(inside, result.grid))
    other = _gram(reference.tokens, token_weights(there, reference.grid))
    return float(torch.linalg.matrix_norm(own - other) / torch.linalg.matrix_norm(other))


def dino_i(result: Descriptors, reference: Descriptors) -> float:
    """Appearance of whole pictures, higher is better: cosine of the class tokens (DINO-I), -1 to 1."""
    return float(functional.cosine_similarity(result.summary, reference.summary, dim=0))


def _cosines(tokens: Tensor) -> Tensor:
    unit = functional.normalize(tokens, dim=-1)
    cosines: Tensor = unit @ unit.T
    return cosines


def _gram(tokens: Tensor, weight: Tensor) -> Tensor:
    unit = functional.normalize(tokens, dim=-1)
    matrix: Tensor = (unit * weight[:, None]).T @ unit / weight.sum()
    return matrix
