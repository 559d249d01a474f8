"""Correspondences that are made while sampling."""

import pytest
import torch

from core.models.models import Models
from core.params.transfer import TransferParams, nested
from core.pipeline import TransferInputs, transfer

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


@pytest.mark.parametrize("source", ["per_layer", "per_step"])
def test_maps_made_while_sampling_follow_the_steps(models: Models, pictures: Pictures, source: str) -> None:
    """Of three steps all are matched, or the first alone."""
    every, once = (
        transfer(
            models,
            TransferInputs(*pictures),
            params({"matching.source": source, "injection.layers": ["up_blocks.1"], "injection.range": levels}),
            seed=0,
        )
        for levels in ((1.0, 0.0), (1.0, 0.5))
    )
    assert not torch.equal(every.matches.positions, once.matches.positions)
    assert every.matches.inside.all()
