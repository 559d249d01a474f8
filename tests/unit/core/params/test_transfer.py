import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core.params.transfer import TransferParams


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("guidance_scale", 99),
        ("guidance_scale", 0.5),
        ("num_steps", 1),
        ("num_steps", 2.5),
        ("strength", 0),
        ("eta", 0),
        ("injection_range", (0.2, 0.6)),
        ("adain_range", (1.2, 0.0)),
        ("injection_layers", ("up_blocks.0; import os",)),
        ("match_source", "psychic"),
        ("match_layers", ()),
        ("injection_mode", "q"),
        ("injection_guidance", 0.5),
        ("attention_contrast", 0.9),
        ("noise_mode", "pink"),
        ("noise_range", (0.1, 0.9)),
        ("structure_strength", 1.1),
        ("freeu_s1", 0),
        ("resolution", 10),
        ("num_stepps", 30),
        ("strength", float("nan")),
    ],
)
def test_what_is_out_of_range_or_unknown_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=name):
        TransferParams.model_validate({name: value})


def test_knobs_cannot_be_changed_later() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TransferParams().num_steps = 3


def test_every_knob_says_what_it_does() -> None:
    undocumented = [name for name, field in TransferParams.model_fields.items() if not field.description]
    assert undocumented == []


@given(start=st.floats(0, 1), stop=st.floats(0, 1))
def test_ranges_run_from_noise_to_picture(start: float, stop: float) -> None:
    if start >= stop:
        assert TransferParams(adain_range=(start, stop)).adain_range == (start, stop)
    else:
        with pytest.raises(ValidationError, match="adain_range"):
            TransferParams(adain_range=(start, stop))


def test_json_and_back_is_the_same() -> None:
    params = TransferParams(num_steps=5, injection_range=(0.5, 0.25), resolution=256)
    assert TransferParams.model_validate_json(params.model_dump_json()) == params
