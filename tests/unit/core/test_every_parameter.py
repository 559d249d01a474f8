"""Whatever may be asked for runs; whatever may not is refused by its path."""

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
from core.params.transfer import TransferParams, nested
from core.pipeline import TransferInputs, transfer
from tests.tiny import tiny_models
from tests.tiny_segmenters import tiny_segmenter, tiny_text_segmenter
from tests.tiny_vision import tiny_part_finder, tiny_vision
from tests.unit.core.parameter_values import INVALID, VALID, agreeing, leaves, names_parameter

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
    """By dotted names; two steps at most. The sampler itself refuses what is not finite."""
    params = TransferParams.model_validate(nested(values))
    result = transfer(models, TransferInputs(PICTURES[0], PICTURES[1], named=NAMED), params, seed=seed)
    assert result.image.shape == (40, 56, 3)
    inside = result.matches.inside
    for numbers in (result.matches.positions[inside], result.matches.similarity, result.matches.confidence):
        assert torch.isfinite(numbers).all()
    assert 0.0 <= float(result.matches.confidence.min()) <= float(result.matches.confidence.max()) <= 1.0


def test_every_parameter_has_values_that_are_allowed_and_values_that_are_not() -> None:
    assert set(VALID) == set(INVALID) == {path for path, _ in leaves()}


@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(values=st.fixed_dictionaries({}, optional=dict(VALID)), seed=st.integers(0, 2**63 - 1))
@example(values={"preset": "paper", "matching.source": "per_layer", "output.appearance_scale": 0.0}, seed=0)
@example(values={"matching.local_affine_sigma": 1e-310}, seed=0)
def test_whatever_is_allowed_runs(values: dict[str, Any], seed: int) -> None:
    asked = agreeing({"matching.ensemble_size": 1, "resolution": 64, **values, "num_inference_steps": 2})
    try:
        run(holding_everything(), asked, seed)
    except EmptyMaskError:  # random segmentation models may find nothing
        assume(False)


@pytest.mark.parametrize("name", sorted(INVALID))
def test_whatever_is_not_allowed_is_refused_by_its_path(name: str) -> None:
    @settings(max_examples=8, deadline=None, derandomize=True, database=None)
    @given(value=INVALID[name])
    def refused(value: object) -> None:
        with pytest.raises(ValidationError) as caught:
            TransferParams.model_validate(nested({name: value}))
        assert all(names_parameter(error, name) for error in caught.value.errors())

    refused()


PLACES = [[(0.2, 0.3), (0.7, 0.8)], [(0.1, 0.9), (0.5, 0.5)]]
COMBINATIONS: tuple[dict[str, Any], ...] = (
    {
        "strength": 0.9,
        "timestep_spacing": "trailing",
        "guidance_scale": 3.0,
        "eta": 0.5,
        "matching.source": "per_layer",
    },
    {
        "matching.source": "per_step",
        "matching.filter": "both",
        "matching.fill": "nearest",
        "matching.landmarks": [{"target": (0.2, 0.2), "reference": (0.7, 0.7)}],
    },
    {
        "matching.source": "custom",
        "matching.custom_map": PLACES,
        "injection.mode": "block_output",
        "injection.scale": 0.5,
    },
    {
        "matching.source": "fused",
        "matching.mirrored": True,
        "matching.crop": False,
        "matching.realign": False,
        "matching.local_affine_sigma": 0.0,
        "matching.landmark_radius": 0.3,
        "matching.neighbor_weight": 0.0,
        "matching.global_affine_weight": 0.5,
        "latent.adain_range": (1.0, 0.0),
    },
    {
        "matching.parts": ["wing", "head"],
        "matching.part_weight": 2.0,
        "matching.max_segments": 3,
        "matching.layers": ["up_blocks.0.attentions.0.transformer_blocks.6"],
        "matching.noise_level": 0.4,
    },
    {
        "masks.regions": [{"target_mask": "left"}, {"target_mask": "right", "reference": "other", "scale": 0.5}],
        "injection.mode": "cross_image",
        "injection.contrast_strength": 1.6,
        "injection.swap_guidance_scale": 2.0,
    },
    {
        "injection.mode": "ctrl_x",
        "noise.mode": "blend",
        "noise.noise_map_scale": 0.5,
        "noise.range": (1.0, 0.3),
        "injection.structure_every": 2,
        "injection.structure_range": (1.0, 0.5),
    },
    {
        "injection.mode": "kv",
        "freeu.b1": 1.3,
        "freeu.b2": 1.4,
        "freeu.s1": 0.9,
        "freeu.s2": 0.2,
        "output.appearance_scale": 0.5,
        "output.keep_lightness": True,
        "output.feather_px": 4.0,
    },
    {
        "masks.target_selection": {"box": (0.1, 0.1, 0.9, 0.9)},
        "masks.reference_selection": {"text": "wing", "invert": True},
        "masks.mode": "none",
        "latent.reanchor_level": 0.6,
        "latent.warp_strength": 0.3,
        "latent.shading_strength": 0.5,
        "latent.warp_range": (1.0, 0.0),
        "injection.range": (1.0, 0.0),
        "injection.layers": ["mid_block", "up_blocks.0"],
    },
    {"preset": "paper", "resolution": 64, "strength": 1.0},
)


@pytest.mark.parametrize("number", range(len(COMBINATIONS)))
def test_sdxls_real_layer_counts_run_with_every_parameter(number: int) -> None:
    """1, 2 and 10 transformer layers, narrow."""
    models = holding_everything(layers=(1, 2, 10))
    blocks = [name for name, _ in models.unet.named_modules() if name.endswith(".attn1")]
    assert sum(name.startswith("up_blocks.0") for name in blocks) == 20
    run(
        models,
        {"matching.ensemble_size": 1, "resolution": 64, **COMBINATIONS[number], "num_inference_steps": 2},
        number,
    )


def test_those_are_all_parameters() -> None:
    turned = {name for values in COMBINATIONS for name in values}
    assert turned | {"num_inference_steps", "matching.ensemble_size"} == {path for path, _ in leaves()}
