"""`--param key=value`."""

import pytest

from cli.errors import BadInput
from cli.params import describe_params, read_params
from core.params.transfer import TransferParams


def test_nothing_given_means_the_defaults() -> None:
    assert read_params([]) == TransferParams()


def test_values_are_json_and_else_strings() -> None:
    params = read_params(
        ["num_steps=12", "strength=0.5", "resolution=null", "match_source=layer", 'match_layers=["up_blocks.0"]']
    )
    assert params.num_steps == 12
    assert params.strength == 0.5
    assert params.resolution is None
    assert params.match_source == "layer"
    assert params.match_layers == ("up_blocks.0",)


def test_a_value_may_hold_an_equals_sign() -> None:
    with pytest.raises(BadInput, match="match_source"):
        read_params(["match_source=a=b"])


def test_a_range_that_runs_upwards_is_refused() -> None:
    with pytest.raises(BadInput, match="injection_range"):
        read_params(["injection_range=[0.1, 0.9]"])


def test_every_knob_is_described() -> None:
    text = describe_params()
    assert all(f"{name}=" in text for name in TransferParams.model_fields)
