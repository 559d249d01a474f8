"""The table of methods. A method is a function from a case to a picture of the target's size.

Methods of the sampler are ours with other parameters: same weights, draws, masks, steps, and, where they match, the
same correspondence. A new one is one more line.
"""

from collections.abc import Callable, Mapping
from typing import Any

from lab.baselines.case import Bytes, Case
from lab.baselines.pictures import reinhard, warp

Method = Callable[[Case], Bytes]

NOTHING_EDITED: dict[str, Any] = {"injection_layers": (), "clean_latent_strength": 0.0, "adain_range": (0.0, 0.0)}
"""The sampler that merely reconstructs the target."""
PAPER_ADAIN_RANGE = (0.181, 0.0)


def ours(case: Case) -> Bytes:
    """The sampler as its parameters say."""
    return case.repaint(case.params, None if case.params.match_source == "layer" else case.own_map)


def ours_without_masks(case: Case) -> Bytes:
    """The same, told nothing about where the figures are."""
    return ours(Case(case.models, case.pair, case.params, case.seed, masked=False))


def oracle(case: Case) -> Bytes:
    """The same with the true correspondence: what better matches could give."""
    return case.repaint(case.params, case.true_map)


def feature_injection(case: Case) -> Bytes:
    """The paper's rearranged features alone (arXiv 2406.07008), with our matches."""
    return _sampled(case, clean_latent_strength=0.0, adain_range=(0.0, 0.0))


def adain(case: Case) -> Bytes:
    """The latent's moments alone (arXiv 1703.06868), at the paper's noise levels."""
    return _sampled(case, **NOTHING_EDITED | {"adain_range": PAPER_ADAIN_RANGE})


def identity(case: Case) -> Bytes:
    """The target as it is."""
    return case.pair.target.image


def truth(case: Case) -> Bytes:
    """The renderer's own answer: what the figures give at best."""
    return case.pair.truth.image


def _sampled(case: Case, **changes: Any) -> Bytes:
    params = type(case.params).model_validate(case.params.model_dump() | changes)
    return case.repaint(params, case.own_map)


METHODS: Mapping[str, Method] = {
    method.__name__: method
    for method in (ours, ours_without_masks, oracle, feature_injection, adain, reinhard, warp, identity, truth)
}
