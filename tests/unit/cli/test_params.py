"""`--param key=value`."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from cli.errors import BadInput
from cli.params import describe_params, list_params, read_params
from core.params.transfer import FreeUParams, TransferParams


def test_nothing_given_means_the_defaults() -> None:
    assert read_params([]) == TransferParams()


def test_values_are_json_and_else_strings() -> None:
    layers = 'matching.layers=["up_blocks.0"]'
    params = read_params(
        ["num_inference_steps=12", "strength=0.5", "resolution=null", "matching.source=per_layer", layers]
    )
    assert params.num_inference_steps == 12
    assert params.strength == 0.5
    assert params.resolution is None
    assert params.matching.source == "per_layer"
    assert params.matching.layers == ("up_blocks.0",)


def test_names_lead_into_groups() -> None:
    params = read_params(
        ["matching.ensemble_size=8", "masks.mode=auto", "freeu.b1=1.3", "masks.target_selection.text=a"]
    )
    assert params.matching.ensemble_size == 8
    assert params.masks.mode == "auto"
    assert params.freeu == FreeUParams(b1=1.3)
    assert params.masks.target_selection.text == "a"
    assert params.matching.model_fields_set == {"ensemble_size"}


def test_a_group_may_be_given_whole_and_beside_further_members() -> None:
    params = read_params(['matching={"ensemble_size": 8, "crop": false}', "matching.realign=false"])
    assert (params.matching.ensemble_size, params.matching.crop, params.matching.realign) == (8, False, False)


@pytest.mark.parametrize(
    "assignments",
    [
        ["eta=1", "eta=1"],
        ["matching.ensemble_size=8", "matching.ensemble_size=8"],
        ['matching={"ensemble_size": 8}', "matching.ensemble_size=8"],
        ["matching.ensemble_size=8", "matching=5"],
        ["freeu=null", "freeu.b1=1.3"],
    ],
)
def test_no_value_is_dropped_in_silence(assignments: list[str]) -> None:
    with pytest.raises(BadInput, match="is given twice"):
        read_params(assignments)


def test_given_values_win_over_those_of_a_preset() -> None:
    params = read_params(["matching.ensemble_size=8"], "fast").resolved()
    assert (params.num_inference_steps, params.matching.ensemble_size) == (10, 8)


def test_a_value_may_contain_an_equals_sign() -> None:
    with pytest.raises(BadInput, match=r"matching\.source"):
        read_params(["matching.source=a=b"])


@pytest.mark.parametrize(
    ("assignment", "problem"),
    [
        ("matching.ensemble_sise=4", "--param matching.ensemble_sise: unknown; did you mean matching.ensemble_size?"),
        ("ensemble_size=4", "--param ensemble_size: unknown; did you mean matching.ensemble_size?"),
        ("latent.range=[1, 0]", "--param latent.range: unknown; did you mean injection.range or noise.range?"),
        (
            "matching.mod=auto",
            "--param matching.mod: unknown; did you mean masks.mode or injection.mode or noise.mode?",
        ),
        ("masks.target_selection.bx=[0, 0, 1, 1]", "did you mean masks.target_selection.box?"),
        ("zzz=1", "--param zzz: unknown"),
        ("matching.ensemble_size=33", "--param matching.ensemble_size: Input should be less than or equal to 32"),
        ("freeu.b1=0", "--param freeu.b1: Input should be greater than 0"),
        ("injection.range=[0.1, 0.9]", "--param injection.range: sampling runs downwards"),
        ("matching.source=custom", "--param matching: custom_map: goes with source 'custom'"),
        ('masks.regions=[{"scale": 2}]', "--param masks.regions.0.scale: Input should be less than or equal to 1"),
        ("matching=5", "--param matching: Input should be"),
    ],
)
def test_a_refusal_is_one_line_with_the_path(assignment: str, problem: str) -> None:
    with pytest.raises(BadInput) as refused:
        read_params([assignment])
    assert problem in refused.value.message
    assert len(refused.value.message.splitlines()) == 1


def test_every_refusal_is_reported() -> None:
    with pytest.raises(BadInput, match=r"--param strength: .*; --param matching\.crp: unknown"):
        read_params(["strength=9", "matching.crp=false"])


def members(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from members(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def test_every_parameter_is_listed_with_its_default() -> None:
    listed = {parameter.path: parameter.default for parameter in list_params()}
    everything = TransferParams(freeu=FreeUParams()).model_dump(mode="json")
    assert listed == dict(members(everything))


def test_a_default_that_is_given_is_taken() -> None:
    """What `--list-params` prints can be pasted."""
    params = read_params([parameter.assignment for parameter in list_params()])
    assert params == TransferParams(freeu=FreeUParams())


def test_the_description_has_default_text_and_values() -> None:
    text = describe_params()
    assert 'matching.source="auto"\n    Where the token correspondence comes from.' in text
    assert "\n    Values: auto, per_layer, per_step, unet, vision, fused, custom.\n" in text
    values = {parameter.path: parameter.values for parameter in list_params()}
    assert values["matching.ensemble_size"] == "1 to 32"
    assert values["matching.noise_level"] == "0 to below 1"
    assert values["freeu.b1"] == "above 0 to 4"
    assert values["resolution"] == "64 to 2048 or null"
    assert values["masks.mode"] == "given, auto, none"
    assert values["injection.range"] == "[0 to 1, 0 to 1]"
    assert values["matching.parts"] == "[text of at most 60 characters, …] (at most 16)"
    assert values["matching.landmarks"] == "[{target, reference}, …] (at most 64)"
    assert json.dumps(values).count('""') == 0
