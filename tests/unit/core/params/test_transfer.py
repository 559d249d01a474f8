from functools import reduce
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from core.params.transfer import (
    FreeUParams,
    InjectionParams,
    LatentParams,
    MatchingParams,
    TransferParams,
    nested,
    overlay,
    with_values,
)
from tests.unit.core.parameter_values import VALID, agreeing, by_path, groups, leaves, names_parameter


def refused(values: dict[str, Any]) -> list[ErrorDetails]:
    with pytest.raises(ValidationError) as caught:
        TransferParams.model_validate(values)
    return caught.value.errors()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("guidance_scale", 99),
        ("guidance_scale", 0.5),
        ("num_inference_steps", 1),
        ("num_inference_steps", 2.5),
        ("strength", 0),
        ("eta", 0),
        ("injection.range", (0.2, 0.6)),
        ("latent.adain_range", (1.2, 0.0)),
        ("injection.layers", ("up_blocks.0; import os",)),
        ("matching.source", "psychic"),
        ("matching.layers", ()),
        ("injection.mode", "q"),
        ("injection.swap_guidance_scale", 0.5),
        ("injection.contrast_strength", 0.9),
        ("noise.mode", "pink"),
        ("noise.range", (0.1, 0.9)),
        ("noise.noise_map_scale", 1.1),
        ("freeu.s1", 0),
        ("resolution", 10),
        ("num_inference_stepps", 30),
        ("matching.ensemble_sizes", 30),
        ("matchings.ensemble_size", 30),
        ("strength", float("nan")),
    ],
)
def test_what_is_out_of_range_or_unknown_is_refused_by_its_path(name: str, value: object) -> None:
    (error,) = refused(nested({name: value}))
    path = tuple(name.split("."))
    assert error["loc"][: len(path)] == path[: len(error["loc"])]


@pytest.mark.parametrize(
    ("values", "path", "field"),
    [
        ({"matching": {"source": "per_layer", "parts": ["wing", "head"]}}, ("matching",), "parts: "),
        ({"matching": {"source": "custom"}}, ("matching",), "custom_map: "),
        ({"matching": {"parts": ["wing"]}}, ("matching",), "parts: "),
        ({"masks": {"mode": "none", "regions": [{}]}}, ("masks",), "regions: "),
        (
            {"masks": {"regions": [{"target_mask": "a"}, {"reference_mask": "a"}]}},
            ("masks",),
            "regions: mask 'a' ",
        ),
        ({"masks": {"target_selection": {"text": " "}}}, ("masks", "target_selection"), "text: "),
        ({"masks": {"regions": [{"reference": "target"}]}}, ("masks", "regions", 0), "reference: "),
        ({"injection": {"range": (0.2, 0.6)}}, ("injection", "range"), "sampling runs downwards"),
    ],
)
def test_what_does_not_go_together_is_refused_in_its_group_with_the_field_named(
    values: dict[str, Any], path: tuple[str | int, ...], field: str
) -> None:
    (error,) = refused(values)
    assert error["loc"] == path
    assert error["msg"].startswith(f"Value error, {field}")


def test_parameters_cannot_be_changed_later() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TransferParams().num_inference_steps = 3
    with pytest.raises(ValidationError, match="frozen"):
        TransferParams().matching.ensemble_size = 3


def test_every_parameter_says_what_it_does() -> None:
    undocumented = [path for path, field in leaves() if not field.description]
    assert undocumented == []


def test_every_group_refuses_what_it_does_not_know() -> None:
    for path, group in groups().items():
        (error,) = refused({path: {"colour": 1}})
        assert error["loc"] == (path, "colour")
        assert group.model_config.get("frozen")


@given(start=st.floats(0, 1), stop=st.floats(0, 1))
def test_ranges_run_from_noise_to_picture(start: float, stop: float) -> None:
    if start >= stop:
        assert LatentParams(adain_range=(start, stop)).adain_range == (start, stop)
    else:
        (error,) = refused({"latent": {"adain_range": (start, stop)}})
        assert error["loc"] == ("latent", "adain_range")


def test_json_and_back_is_the_same() -> None:
    params = TransferParams(num_inference_steps=5, injection=InjectionParams(range=(0.5, 0.25)), resolution=256)
    assert TransferParams.model_validate_json(params.model_dump_json()) == params


def test_a_path_is_that_of_the_request_where_the_parameters_are_part_of_one() -> None:
    class Request(BaseModel):
        model_config = ConfigDict(extra="forbid")
        params: TransferParams

    with pytest.raises(ValidationError) as caught:
        Request.model_validate({"params": {"matching": {"ensemble_size": 0}}})
    assert caught.value.errors()[0]["loc"] == ("params", "matching", "ensemble_size")


def test_dotted_names_are_nested_and_meet_in_their_groups() -> None:
    values = {"strength": 0.5, "matching.ensemble_size": 8, "freeu.b1": 1.2, "matching.realign": False}
    expected = {"strength": 0.5, "matching": {"ensemble_size": 8, "realign": False}, "freeu": {"b1": 1.2}}
    assert nested(values) == expected
    assert nested({}) == {}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(values=st.fixed_dictionaries({}, optional=dict(VALID)))
def test_whatever_is_allowed_is_the_same_by_dotted_names_nested_and_as_json(values: dict[str, Any]) -> None:
    asked = agreeing(values)
    params = TransferParams.model_validate(nested(asked))
    assert by_path(nested(asked)) == asked
    assert with_values(TransferParams(), asked) == params
    assert TransferParams.model_validate_json(params.model_dump_json(exclude_unset=True), strict=True) == params
    resolved = params.resolved()
    assert resolved.resolved() == resolved
    for path in asked:
        assert reduce(getattr, path.split("."), resolved) == reduce(getattr, path.split("."), params)


def test_values_laid_over_others_take_their_place_group_by_group() -> None:
    base = {"a": 1, "group": {"b": 2, "c": (3, 4)}, "none": None}
    over = {"group": {"c": (5,)}, "none": {"d": 6}, "e": 7}
    assert overlay(base, over) == {"a": 1, "group": {"b": 2, "c": (5,)}, "none": {"d": 6}, "e": 7}
    assert base == {"a": 1, "group": {"b": 2, "c": (3, 4)}, "none": None}
    assert overlay(base, {"group": None}) == {"a": 1, "group": None, "none": None}
    assert overlay(base, {}) == base


def test_others_by_dotted_names_are_checked_and_leave_the_rest() -> None:
    params = TransferParams(strength=0.9, matching=MatchingParams(ensemble_size=2))
    changed = with_values(params, {"matching.realign": False, "freeu.b1": 1.3})
    matching = MatchingParams(ensemble_size=2, realign=False)
    assert changed == TransferParams(strength=0.9, matching=matching, freeu=FreeUParams(b1=1.3))
    assert params == TransferParams(strength=0.9, matching=MatchingParams(ensemble_size=2))
    assert with_values(params, {}) == params
    with pytest.raises(ValidationError) as caught:
        with_values(params, {"matching.ensemble_size": 99, "matching.colour": 1})
    assert {error["loc"] for error in caught.value.errors()} == {("matching", "ensemble_size"), ("matching", "colour")}


def test_a_parameter_is_named_by_its_path_or_in_its_group() -> None:
    """Of what the tests here take for that."""
    (direct,) = refused({"matching": {"ensemble_size": 0}})
    (grouped,) = refused({"matching": {"parts": ["wing"]}})
    assert names_parameter(direct, "matching.ensemble_size")
    assert names_parameter(grouped, "matching.parts")
    assert not names_parameter(direct, "matching.parts")
    assert not names_parameter(grouped, "masks.parts")
