"""Looking at what the network sees while it samples, without changing it."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from core.guidance import NoisePredictor, Rows
from core.patch import AttentionInput
from core.rearrange import FeatureInjection, Injection

Seen = Mapping[str, AttentionInput]
"""By layer: what it was given in the last call of the network, all rows, before anything was injected."""


@runtime_checkable
class Watcher(Protocol):
    """Told after every call of the network in which it saw the references."""

    layers: list[str]
    """Whose inputs it wants to see."""

    def saw(self, injections: Sequence[FeatureInjection], seen: Seen, timestep: int) -> None:
        """`injections`: one for every trajectory of the batch."""


def watched(
    predict: NoisePredictor, watcher: Watcher, injections: Sequence[FeatureInjection], seen: Seen
) -> NoisePredictor:
    """`predict`, and `watcher` told of it."""

    def predict_watched(rows: Rows, timestep: int) -> Rows:
        predicted = predict(rows, timestep)
        if injections[0].mode is Injection.MATCHED:
            watcher.saw(injections, seen, timestep)
        return predicted

    return predict_watched


def injection_rows(
    injections: Sequence[FeatureInjection], number: int, features: AttentionInput
) -> Float[Tensor, "rows tokens channels"]:
    """Output, references and structure of one trajectory, of the conditional half."""
    rows: Tensor = features.unflatten(0, (-1, len(injections), injections[0].row_count))[-1, number]
    return rows
