"""The table of methods. A method is a function from a case to a picture of the target's size.

Methods of the sampler are ours with other parameters (`settings`): same weights, draws, masks, steps, and, where they
match, the same correspondence. A new one is one more line.
"""

from collections.abc import Callable, Mapping

from core.params.transfer import with_values
from lab.baselines.case import Bytes, Case
from lab.baselines.pictures import colour_transfer, moved, reinhard, warp
from lab.baselines.settings import SETTINGS

Method = Callable[[Case], Bytes]


def ours(case: Case) -> Bytes:
    """The sampler with the parameters of the run."""
    while_sampling = case.params.matching.source in ("per_layer", "per_step")
    return case.repaint(case.params, None if while_sampling else case.own_correspondences)


def ours_without_masks(case: Case) -> Bytes:
    """The same without masks: where the figures are is not known."""
    return ours(Case(case.models, case.pair, case.params, case.seed, masked=False))


def oracle(case: Case) -> Bytes:
    """The same with the true correspondence: what better matches could give."""
    return case.repaint(case.params, case.true_correspondences)


def identity(case: Case) -> Bytes:
    """The target as it is."""
    return case.pair.target.image


def truth(case: Case) -> Bytes:
    """The renderer's own answer: what the figures give at best."""
    return case.rendered.truth.image


def sampler_with(name: str) -> Method:
    """The method of our sampler that `SETTINGS` describes under a name."""

    def run(case: Case) -> Bytes:
        changes = {**SETTINGS[name], **case.overrides.get(name, {})}
        return case.repaint(with_values(case.params, changes), case.own_correspondences)

    return run


METHODS: Mapping[str, Method] = {
    "ours": ours,
    "ours_without_masks": ours_without_masks,
    "oracle": oracle,
    **{name: sampler_with(name) for name in SETTINGS},
    "reinhard": reinhard,
    "colour_transfer": colour_transfer,
    "moved": moved,
    "warp": warp,
    "identity": identity,
    "truth": truth,
}
