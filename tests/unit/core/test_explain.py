"""What a run reports of one place."""

import pytest
import torch

from core.errors import EmptyMaskError
from core.explain import explain
from core.masks.regions import Masks, Named
from core.models.models import Models
from core.models.noise import make_steps
from core.params.transfer import TransferParams, nested
from core.pipeline import TransferInputs, match

Pictures = tuple[torch.Tensor, torch.Tensor]
FAST = {
    "num_inference_steps": 3,
    "matching.neighbor_weight": 0.0,
    "strength": 1.0,
    "matching.ensemble_size": 1,
    "injection.range": (1.0, 0.0),
    "injection.structure_every": 0,
}


def params(values: dict[str, object] = FAST) -> TransferParams:
    return TransferParams.model_validate(nested({**FAST, **values}))


@pytest.mark.parametrize("source", ["auto", "per_layer", "per_step"])
def test_an_explanation_has_every_layer_and_step(models: Models, pictures: Pictures, source: str) -> None:
    asked, inputs = params({"matching.source": source}), TransferInputs(*pictures)
    found = explain(models, inputs, asked, (0.3, 0.6), seed=0)
    steps = make_steps(models.alphas_cumprod, num_inference_steps=3, strength=1.0)
    assert found.noise_levels == tuple(step.timestep / 1000 for step in steps)
    assert len(found.layers) == 6
    assert found.places.shape == (6, 3, 2)
    assert found.similarity.shape == (6, 3)
    assert found.places.min() >= 0.0
    assert found.places.max() <= 1.0
    used = match(models, inputs, asked, seed=0).matches.positions[int(0.6 * 44), int(0.3 * 64)]
    if source == "auto":
        assert found.used == tuple(used.tolist())


def test_what_a_layer_is_reported_to_have_matched_is_what_it_matched(models: Models, pictures: Pictures) -> None:
    asked = params({"matching.source": "per_layer", "injection.layers": ["up_blocks.1"]})
    found = explain(models, TransferInputs(*pictures), asked, (0.3, 0.6), seed=0)
    within_a_token = 1 / 16
    assert found.used == pytest.approx(tuple(found.places[-1, -1].tolist()), abs=within_a_token)


def test_an_explanation_is_of_the_region_that_holds_the_place(models: Models, pictures: Pictures) -> None:
    left = torch.zeros(60, 88)
    left[:, :44] = 1.0
    named = Named({"other": pictures[1].flip(0)}, {"left": left, "right": 1.0 - left})
    regions = [{"target_mask": "left"}, {"target_mask": "right", "reference": "other"}]
    found = explain(
        models, TransferInputs(*pictures, named=named), params({"masks.regions": regions}), (0.9, 0.5), seed=0
    )
    assert found.region == 1
    with pytest.raises(EmptyMaskError, match=r"0\.9"):
        explain(models, TransferInputs(*pictures, Masks(target=left)), params(), (0.9, 0.5), seed=0)
