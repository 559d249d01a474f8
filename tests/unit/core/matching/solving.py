"""The solver with every stage off that a test does not ask for."""

from typing import Any

from torch import Tensor

from core.matching.correspondence import Correspondence
from core.matching.solver import UNCONSTRAINED, Constraints, TokenFeatures, TokenMasks, plain, solve
from core.params.transfer import MatchingParams

OFF = plain(MatchingParams())
"""What is left is the argmax of cosines."""


def solved(
    features: tuple[Tensor, Tensor],
    grid: tuple[int, int],
    masks: tuple[Tensor, Tensor],
    constraints: Constraints = UNCONSTRAINED,
    **values: Any,
) -> Correspondence:
    """By features and masks of the tokens of target and reference; `values` are of MatchingParams."""
    params = MatchingParams.model_validate({**OFF.model_dump(), **values})
    return solve(TokenFeatures(*features, grid), TokenMasks(*masks), params, constraints)
