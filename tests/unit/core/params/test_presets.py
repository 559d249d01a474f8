"""Named settings: a table whose values all fit the declaration, and that explicit values override."""

import json
from collections.abc import Mapping
from typing import Any, get_args

import pytest
from pydantic import ValidationError

import core.params.transfer as declaration
from core.params.presets import PRESET_NAMES, PRESETS, Preset
from core.params.transfer import FreeUParams, InjectionParams, MatchingParams, TransferParams, nested, with_values
from tests.unit.core.parameter_values import by_path


def test_there_is_a_row_for_every_name() -> None:
    assert tuple(PRESETS) == get_args(Preset) == PRESET_NAMES


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_every_value_of_a_preset_arrives(name: Preset) -> None:
    arrived, plain = (
        by_path(params.model_dump()) for params in (TransferParams(preset=name).resolved(), TransferParams())
    )
    named = by_path(PRESETS[name])
    assert {path: arrived[path] for path in named} == named
    del arrived["preset"], plain["preset"]
    if "freeu.b1" in named:
        del plain["freeu"]
    assert {path: value for path, value in arrived.items() if path not in named} == {
        path: value for path, value in plain.items() if path not in named
    }


def test_the_balanced_preset_is_the_default() -> None:
    balanced = TransferParams(preset="balanced").resolved()
    assert balanced.model_copy(update={"preset": None}) == TransferParams()
    assert TransferParams().resolved() == TransferParams()


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_what_is_resolved_stays_as_it_is(name: Preset) -> None:
    once = TransferParams(preset=name, strength=0.9).resolved()
    assert once.resolved() == once
    assert TransferParams.model_validate(once.model_dump()).resolved() == once
    assert TransferParams.model_validate_json(once.model_dump_json()).resolved() == once


def test_what_is_given_beside_a_preset_wins_in_whatever_order_and_form() -> None:
    given: dict[str, Any] = {"injection": {"range": [0.4, 0.1]}, "preset": "paper", "num_inference_steps": 7}
    turned = dict(reversed(given.items()))
    for params in (
        TransferParams.model_validate(given),
        TransferParams.model_validate_json(json.dumps(turned), strict=True),
        with_values(TransferParams(preset="paper"), {"injection.range": (0.4, 0.1), "num_inference_steps": 7}),
    ):
        resolved = params.resolved()
        assert (resolved.num_inference_steps, resolved.injection.range) == (7, (0.4, 0.1))
        assert resolved.guidance_scale == 2.5
        assert resolved.matching.source == "per_layer"
        assert resolved.injection.structure_range == (0.561, 0.311)


def test_a_default_that_is_given_wins_too() -> None:
    """What counts is that it is given, not that it differs."""
    matching = MatchingParams(neighbor_weight=MatchingParams().neighbor_weight)
    resolved = TransferParams(preset="paper", matching=matching, freeu=None).resolved()
    assert resolved.matching.neighbor_weight == 2.0
    assert resolved.freeu is None
    assert TransferParams(preset="paper", freeu=FreeUParams(b1=1.0)).resolved().freeu == FreeUParams(
        b1=1.0, b2=1.4, s1=0.9, s2=0.2
    )


def test_until_it_is_resolved_a_preset_is_its_name_alone() -> None:
    """So what a job stores is what was asked for."""
    assert TransferParams(preset="paper").model_dump(exclude_unset=True) == {"preset": "paper"}
    assert TransferParams(preset="paper").matching == MatchingParams()


def test_a_stored_job_reads_back_as_it_was() -> None:
    params = TransferParams(preset="paper", num_inference_steps=3)
    assert TransferParams.model_validate_json(params.model_dump_json(exclude_unset=True)) == params
    assert TransferParams.model_validate(params.model_dump(exclude_unset=True)).resolved() == params.resolved()
    assert TransferParams.model_validate_json(params.model_dump_json()) == params
    whole = params.resolved()
    assert TransferParams.model_validate_json(whole.model_dump_json()).resolved() == whole
    assert whole.guidance_scale == 2.5


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"matching": {"ensemble_size": 99}}, ("matching", "ensemble_size")),
        ({"injection": {"range": (0.1, 0.9)}}, ("injection", "range")),
        ({"latent": {"warp": 1.0}}, ("latent", "warp")),
        ({"num_steps": 10}, ("num_steps",)),
        ({"matching": {"parts": ("wing",)}}, ("matching",)),
    ],
)
def test_a_bad_value_of_a_preset_is_refused_by_its_path(
    monkeypatch: pytest.MonkeyPatch, values: Mapping[str, Any], path: tuple[str, ...]
) -> None:
    """A table with one bad row: a preset's values are checked as if they had been given."""
    monkeypatch.setattr(declaration, "PRESETS", {**PRESETS, "fast": values})
    with pytest.raises(ValidationError, match="with preset 'fast'") as caught:
        TransferParams(preset="fast")
    assert [error["loc"] for error in caught.value.errors()] == [path]


def test_what_does_not_go_with_a_preset_is_refused_by_its_group_and_the_preset_named() -> None:
    landmark = {"target": (0.5, 0.5), "reference": (0.5, 0.5)}
    with pytest.raises(ValidationError) as caught:
        TransferParams.model_validate({"preset": "paper", "matching": {"landmarks": [landmark]}})
    (error,) = caught.value.errors()
    assert error["loc"] == ("matching",)
    assert error["msg"].startswith("with preset 'paper': landmarks: source must not be 'per_layer'")
    by_unet = {"preset": "paper", "matching": {"landmarks": [landmark], "source": "unet"}}
    assert TransferParams.model_validate(by_unet).resolved().matching.landmarks


def test_values_of_a_preset_are_of_the_types_that_strict_json_asks_for() -> None:
    for name in PRESET_NAMES:
        text = json.dumps({"preset": name, **PRESETS[name]})
        assert TransferParams.model_validate_json(text, strict=True) == TransferParams(preset=name).resolved()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("num_inference_steps", '"7"'),
        ("matching.realign", "1"),
        ("injection.range", '["0.4", 0.1]'),
        ("matching.landmarks", '[{"target": [0, "0"], "reference": [0, 0]}]'),
        ("output.feather_px", '"1"'),
    ],
)
def test_strict_json_takes_no_number_for_a_string_or_the_other_way_round(name: str, text: str) -> None:
    given = nested({name: json.loads(text), "preset": "fast"})
    assert TransferParams.model_validate_json(json.dumps(given)).resolved().num_inference_steps in (7, 10)
    with pytest.raises(ValidationError) as caught:
        TransferParams.model_validate_json(json.dumps(given), strict=True)
    path = tuple(name.split("."))
    assert all(error["loc"][: len(path)] == path for error in caught.value.errors())


@pytest.mark.parametrize("name", ["best", "", 3, ["paper"], {"a": 1}])
def test_an_unknown_preset_is_refused_by_name(name: object) -> None:
    with pytest.raises(ValidationError, match="preset"):
        TransferParams.model_validate({"preset": name})


def test_groups_of_a_preset_are_whole_models() -> None:
    resolved = TransferParams(preset="paper-sd15").resolved()
    assert isinstance(resolved.injection, InjectionParams)
    assert resolved.injection.layers == ("up_blocks.2", "up_blocks.3")
    assert isinstance(resolved.freeu, FreeUParams)
