"""Several seeds in one batch: each result is what it would be alone."""

import pytest
import torch

from core.models.models import Models
from core.params.transfer import TransferParams
from core.pipeline import transfer, transfer_variants

Pictures = tuple[torch.Tensor, torch.Tensor]
SEEDS = [5, 9, 11]


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"match_source": "layer", "guidance_scale": 2.0},
        {"match_source": "step", "guidance_scale": 2.0, "injection_mode": "kv"},
        {"injection_mode": "cross_image", "attention_contrast": 1.5, "injection_guidance": 2.0},
        {"injection_mode": "block_output", "noise_mode": "forward", "match_source": "layer", "match_every": 2},
    ],
)
def test_variants_are_what_their_seeds_make_alone(
    models64: Models, pictures: Pictures, knobs: dict[str, object]
) -> None:
    params = TransferParams.model_validate({"num_steps": 4, "strength": 1.0, "match_draws": 1, **knobs})
    given = (models64, *pictures, params)
    together = transfer_variants(*given, seeds=SEEDS)
    assert [result.seed for result in together] == SEEDS
    for result in together:
        alone = transfer(*given, seed=result.seed)
        assert (result.image.int() - alone.image.int()).abs().max() <= 1
        assert torch.equal(result.matches.positions, alone.matches.positions)
    assert not torch.equal(together[0].image, together[1].image)
