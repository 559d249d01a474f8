"""Whatever may be asked for runs; whatever may not is refused by name."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from core.errors import EmptyMaskError
from core.masks.regions import Named
from core.models.models import Models
from core.params.transfer import TransferParams
from core.pipeline import transfer
from tests.tiny import tiny_models
from tests.tiny_segmenters import tiny_segmenter, tiny_text_segmenter
from tests.unit.core.knobs import INVALID, VALID, agreeing
from tests.unit.core.test_match_sources import tiny_part_finder
from tests.unit.core.test_vision import tiny_vision

PICTURES = torch.rand(3, 3, 40, 56, generator=torch.Generator().manual_seed(0))
LEFT = torch.zeros(40, 56)
LEFT[:, :32] = 1.0
NAMED = Named({"other": PICTURES[2]}, {"left": LEFT, "right": LEFT.flip(1)})


@cache
def holding_everything(*, layers: tuple[int, ...] = (1, 1, 2)) -> Models:
    """A random checkpoint with every optional model."""
    return replace(
        tiny_models(layers=layers),
        segmenter=tiny_segmenter(),
        text_segmenter=tiny_text_segmenter(),
        correspondence=tiny_vision(),
        part_finder=tiny_part_finder(),
    )


def run(models: Models, values: dict[str, Any], seed: int) -> None:
    """Two steps at most. The sampler itself refuses what is not finite."""
    params = TransferParams.model_validate(values)
    result = transfer(models, PICTURES[0], PICTURES[1], params, named=NAMED, seed=seed)
    assert result.image.shape == (40, 56, 3)
    for numbers in (result.matches.positions, result.matches.similarity, result.matches.confidence):
        assert torch.isfinite(numbers).all()
    assert 0.0 <= float(result.matches.confidence.min()) <= float(result.matches.confidence.max()) <= 1.0


def test_every_knob_has_values_that_are_allowed_and_values_that_are_not() -> None:
    assert set(VALID) == set(INVALID) == set(TransferParams.model_fields)


@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(values=st.fixed_dictionaries({}, optional=dict(VALID)), seed=st.integers(0, 2**63 - 1))
@example(values={"preset": "paper", "match_source": "layer", "appearance_strength": 0.0}, seed=0)
@example(values={"match_refinement": 1e-310}, seed=0)
def test_whatever_is_allowed_runs(values: dict[str, Any], seed: int) -> None:
    asked = agreeing({"match_draws": 1, "resolution": 64, **values, "num_steps": 2})
    try:
        run(holding_everything(), asked, seed)
    except EmptyMaskError:  # random segmentation models may find nothing
        assume(False)


@pytest.mark.parametrize("name", sorted(INVALID))
def test_whatever_is_not_allowed_is_refused_by_name(name: str) -> None:
    @settings(max_examples=8, deadline=None, derandomize=True, database=None)
    @given(value=INVALID[name])
    def refused(value: object) -> None:
        with pytest.raises(ValidationError, match=name):
            TransferParams.model_validate({name: value})

    refused()


PLACES = [[(0.2, 0.3), (0.7, 0.8)], [(0.1, 0.9), (0.5, 0.5)]]
COMBINATIONS: tuple[dict[str, Any], ...] = (
    {
        "strength": 0.9,
        "step_spacing": "trailing",
        "guidance_scale": 3.0,
        "eta": 0.5,
        "match_source": "layer",
        "match_every": 2,
        "match_top_k": 4,
    },
    {
        "match_source": "step",
        "match_confidence": "both",
        "unmatched": "nearest",
        "pins": [{"target": (0.2, 0.2), "reference": (0.7, 0.7)}],
    },
    {"match_source": "given", "match_map": PLACES, "injection_mode": "block_output", "injection_strength": 0.5},
    {
        "match_source": "fused",
        "match_mirrored": True,
        "match_framing": False,
        "match_looks": 1,
        "match_refinement": 0.0,
        "pin_radius": 0.3,
        "match_smoothness": 0.0,
        "match_rigidity": 0.5,
        "adain_range": (1.0, 0.0),
    },
    {
        "part_names": ["wing", "head"],
        "part_weight": 2.0,
        "match_pieces": 3,
        "match_layers": ["up_blocks.0.attentions.0.transformer_blocks.6"],
        "match_noise_level": 0.4,
    },
    {
        "regions": [{"target_mask": "left"}, {"target_mask": "right", "reference": "other", "strength": 0.5}],
        "injection_mode": "cross_image",
        "attention_contrast": 1.6,
        "injection_guidance": 2.0,
    },
    {
        "injection_mode": "soft_statistics",
        "noise_mode": "blend",
        "structure_strength": 0.5,
        "noise_range": (1.0, 0.3),
        "reinjection_every": 2,
        "reinjection_range": (1.0, 0.5),
    },
    {
        "injection_mode": "kv",
        "freeu_b1": 1.3,
        "freeu_b2": 1.4,
        "freeu_s1": 0.9,
        "freeu_s2": 0.2,
        "appearance_strength": 0.5,
        "colour_only": True,
        "feather_px": 4.0,
    },
    {
        "target_selection": {"box": (0.1, 0.1, 0.9, 0.9)},
        "reference_selection": {"text": "wing", "invert": True},
        "mask_mode": "none",
        "reanchor_level": 0.6,
        "clean_latent_strength": 0.3,
        "shading_strength": 0.5,
        "clean_latent_range": (1.0, 0.0),
        "injection_range": (1.0, 0.0),
        "injection_layers": ["mid_block", "up_blocks.0"],
    },
    {"preset": "paper", "resolution": 64, "strength": 1.0},
)


@pytest.mark.parametrize("number", range(len(COMBINATIONS)))
def test_sdxls_real_layer_counts_run_every_knob(number: int) -> None:
    """1, 2 and 10 transformer layers, narrow."""
    models = holding_everything(layers=(1, 2, 10))
    blocks = [name for name, _ in models.unet.named_modules() if name.endswith(".attn1")]
    assert sum(name.startswith("up_blocks.0") for name in blocks) == 20
    run(models, {"match_draws": 1, "resolution": 64, **COMBINATIONS[number], "num_steps": 2}, number)


def test_those_are_all_knobs() -> None:
    turned = {name for values in COMBINATIONS for name in values}
    assert turned | {"num_steps", "match_draws"} == set(TransferParams.model_fields)
