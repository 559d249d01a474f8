"""Named settings: a table whose values all fit the declaration, and that explicit values override."""

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from core.params.presets import PRESET_NAMES, PRESETS, Preset
from core.params.transfer import TransferParams


def test_there_is_a_row_for_every_name() -> None:
    assert tuple(PRESETS) == get_args(Preset) == PRESET_NAMES


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_every_value_of_a_preset_arrives(name: Preset) -> None:
    params = TransferParams(preset=name)
    assert params.model_dump(include=set(PRESETS[name])) == dict(PRESETS[name])
    untouched = set(TransferParams.model_fields) - set(PRESETS[name]) - {"preset"}
    assert params.model_dump(include=untouched) == TransferParams().model_dump(include=untouched)


def test_the_balanced_preset_is_the_default() -> None:
    assert TransferParams(preset="balanced").model_copy(update={"preset": None}) == TransferParams()


def test_what_is_given_beside_a_preset_wins_in_whatever_order_and_form() -> None:
    given: dict[str, Any] = {"injection_range": [0.4, 0.1], "preset": "paper", "num_steps": 7}
    for params in (
        TransferParams.model_validate(given),
        TransferParams.model_validate_json(
            '{"num_steps": 7, "injection_range": [0.4, 0.1], "preset": "paper"}', strict=True
        ),
    ):
        assert (params.num_steps, params.injection_range) == (7, (0.4, 0.1))
        assert params.guidance_scale == 2.5
        assert params.match_source == "layer"


def test_a_stored_job_reads_back_as_it_was() -> None:
    params = TransferParams(preset="paper", num_steps=3)
    assert TransferParams.model_validate_json(params.model_dump_json()) == params
    assert TransferParams.model_validate(params.model_dump()) == params


@pytest.mark.parametrize("name", ["best", "", 3, ["paper"], {"a": 1}])
def test_an_unknown_preset_is_refused_by_name(name: object) -> None:
    with pytest.raises(ValidationError, match="preset"):
        TransferParams.model_validate({"preset": name})
