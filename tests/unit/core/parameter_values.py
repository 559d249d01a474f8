"""Every parameter, by its dotted name, with values that are allowed and values that are not. One without an entry fails
the tests here."""

from collections.abc import Mapping
from typing import Any, get_args

from hypothesis import strategies as st
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from core.params.presets import PRESET_NAMES
from core.params.transfer import ParameterGroup, TransferParams

Value = st.SearchStrategy[Any]

SHARE: Value = st.floats(0.0, 1.0)
PLACE: Value = st.tuples(SHARE, SHARE)
RANGE: Value = st.tuples(SHARE, SHARE).map(lambda pair: (max(pair), min(pair)))
LAYERS: Value = st.lists(
    st.sampled_from(
        ["down_blocks.1", "down_blocks.2", "mid_block", "up_blocks.0", "up_blocks.1", "up_blocks.1.attentions.0"]
    ),
    min_size=1,
    max_size=3,
)
BOX: Value = st.tuples(st.floats(0.0, 0.4), st.floats(0.0, 0.4), st.floats(0.6, 1.0), st.floats(0.6, 1.0))
SELECTION: Value = st.fixed_dictionaries(
    {},
    optional={
        "box": BOX,
        "points": st.lists(PLACE, max_size=2),
        "text": st.sampled_from(["", "wing"]),
        "invert": st.booleans(),
    },
)
REGION: Value = st.fixed_dictionaries(
    {"target_mask": st.sampled_from(["left", "right"])},
    optional={
        "reference": st.just("other"),
        "target_selection": SELECTION,
        "reference_selection": SELECTION,
        "scale": SHARE,
    },
)
FREEU: Value = st.floats(0.1, 2.0)
MAP: Value = st.integers(1, 4).flatmap(
    lambda columns: st.lists(st.lists(PLACE, min_size=columns, max_size=columns), min_size=1, max_size=4)
)

VALID: Mapping[str, Value] = {
    "preset": st.sampled_from([None, *PRESET_NAMES]),
    "num_inference_steps": st.just(2),
    "timestep_spacing": st.sampled_from(["leading", "trailing"]),
    "strength": st.floats(0.3, 1.0),
    "guidance_scale": st.floats(1.0, 20.0),
    "eta": st.floats(0.01, 1.0),
    "resolution": st.sampled_from([64, 72]),
    "masks.mode": st.sampled_from(["given", "auto", "none"]),
    "masks.target_selection": SELECTION,
    "masks.reference_selection": SELECTION,
    "masks.regions": st.lists(REGION, max_size=2, unique_by=lambda region: region["target_mask"]),
    "matching.source": st.sampled_from(["auto", "per_layer", "per_step", "unet", "vision", "fused", "custom"]),
    "matching.custom_map": MAP,
    "matching.layers": LAYERS,
    "matching.noise_level": st.floats(0.0, 0.99),
    "matching.ensemble_size": st.integers(1, 2),
    "matching.neighbor_weight": st.floats(0.0, 100.0),
    "matching.global_affine_weight": st.floats(0.0, 10.0),
    "matching.crop": st.booleans(),
    "matching.realign": st.booleans(),
    "matching.local_affine_sigma": st.floats(0.0, 4.0),
    "matching.max_segments": st.integers(0, 32),
    "matching.mirrored": st.booleans(),
    "matching.filter": st.sampled_from(["none", "mutual", "ratio", "both"]),
    "matching.fill": st.sampled_from(["keep", "nearest"]),
    "matching.parts": st.sampled_from([(), ("wing", "head"), ("wing", "head", "tail")]),
    "matching.part_weight": st.floats(0.0, 4.0),
    "matching.landmarks": st.lists(st.fixed_dictionaries({"target": PLACE, "reference": PLACE}), max_size=3),
    "matching.landmark_radius": st.floats(0.01, 2.0),
    "injection.layers": st.one_of(st.none(), st.just([]), LAYERS),
    "injection.mode": st.sampled_from(["feature", "kv", "v", "block_output", "cross_image", "ctrl_x"]),
    "injection.scale": SHARE,
    "injection.swap_guidance_scale": st.floats(1.0, 10.0),
    "injection.contrast_strength": st.floats(1.0, 5.0),
    "injection.range": RANGE,
    "injection.structure_range": RANGE,
    "injection.structure_every": st.integers(0, 3),
    "latent.warp_strength": SHARE,
    "latent.warp_range": RANGE,
    "latent.shading_strength": SHARE,
    "latent.reanchor_level": SHARE,
    "noise.mode": st.sampled_from(["structure", "forward", "blend"]),
    "noise.range": RANGE,
    "noise.noise_map_scale": SHARE,
    "freeu.b1": FREEU,
    "freeu.b2": FREEU,
    "freeu.s1": FREEU,
    "freeu.s2": FREEU,
    "output.appearance_scale": SHARE,
    "output.keep_lightness": st.booleans(),
    "latent.adain_range": RANGE,
    "output.feather_px": st.floats(0.0, 64.0),
}

BEYOND_SHARE: Value = st.one_of(st.floats(max_value=-1e-6), st.floats(min_value=1.000001), st.just(float("nan")))
UPWARDS: Value = st.tuples(SHARE, SHARE).filter(lambda pair: pair[0] < pair[1])
NO_RANGE: Value = st.one_of(UPWARDS, st.just((0.5,)), st.tuples(BEYOND_SHARE, SHARE))
NO_LAYERS: Value = st.sampled_from([["up_blocks"], ["up_blocks.0; import os"], ["x" * 200], "up_blocks.0", 3])
NO_FACTOR: Value = st.sampled_from([0.0, -1.0, 4.1, float("nan"), "big"])
NO_SELECTION: Value = st.sampled_from(
    [{"box": [0.5, 0, 0.5, 1]}, {"points_off": [[0, 0]]}, {"text": "  "}, {"colour": "red"}, 3, {"points": [[2, 0]]}]
)

INVALID: Mapping[str, Value] = {
    "preset": st.sampled_from(["best", 3]),
    "timestep_spacing": st.sampled_from(["even", 1]),
    "num_inference_steps": st.sampled_from([0, 1, 201, 2.5, "two"]),
    "strength": st.one_of(BEYOND_SHARE, st.just(0.0)),
    "guidance_scale": st.sampled_from([0.9, 20.1, float("inf")]),
    "eta": st.one_of(BEYOND_SHARE, st.just(0.0)),
    "resolution": st.sampled_from([0, 63, 2049, 100.5]),
    "masks.mode": st.sampled_from(["auto?", 1, None]),
    "masks.target_selection": NO_SELECTION,
    "masks.reference_selection": NO_SELECTION,
    "masks.regions": st.sampled_from(
        [[{"scale": 2}], [{"target_mask": "../x"}], [{"reference": "target"}], [{"unknown": 1}], [{}] * 9, 1]
    ),
    "matching.source": st.sampled_from(["psychic", "", 1, "custom", "layer"]),
    "matching.custom_map": st.sampled_from([[[[0, 0]], [[0, 0], [1, 1]]], [[]], [[[0, 2]]], [[[0.5, 0.5]]]]),
    "matching.layers": st.one_of(NO_LAYERS, st.just([])),
    "matching.noise_level": st.sampled_from([-0.1, 1.0, float("nan")]),
    "matching.ensemble_size": st.sampled_from([0, 33, 1.5]),
    "matching.neighbor_weight": st.sampled_from([-1.0, 100.5]),
    "matching.global_affine_weight": st.sampled_from([-0.1, 10.5]),
    "matching.crop": st.sampled_from(["perhaps", 3]),
    "matching.realign": st.sampled_from([2, "perhaps"]),
    "matching.local_affine_sigma": st.sampled_from([-0.1, 4.5]),
    "matching.max_segments": st.sampled_from([-1, 33]),
    "matching.mirrored": st.sampled_from(["perhaps", 3]),
    "matching.filter": st.sampled_from(["blind", 1]),
    "matching.fill": st.sampled_from(["guess", 1]),
    "matching.parts": st.sampled_from([["wing"], ["wing", "wing"], ["wing", " "], ["wing", "x" * 61], "wing"]),
    "matching.part_weight": st.sampled_from([-0.1, 4.1]),
    "matching.landmarks": st.sampled_from([[{"target": [0, 0]}], [{"target": [0, 2], "reference": [0, 0]}], 1]),
    "matching.landmark_radius": st.sampled_from([0.0, 2.1]),
    "injection.layers": NO_LAYERS,
    "injection.mode": st.sampled_from(["q", 1]),
    "injection.scale": BEYOND_SHARE,
    "injection.swap_guidance_scale": st.sampled_from([0.9, 10.1]),
    "injection.contrast_strength": st.sampled_from([0.9, 5.1]),
    "injection.range": NO_RANGE,
    "injection.structure_range": NO_RANGE,
    "injection.structure_every": st.sampled_from([-1, 201]),
    "latent.warp_strength": BEYOND_SHARE,
    "latent.warp_range": NO_RANGE,
    "latent.shading_strength": BEYOND_SHARE,
    "latent.reanchor_level": BEYOND_SHARE,
    "noise.mode": st.sampled_from(["pink", 1]),
    "noise.range": NO_RANGE,
    "noise.noise_map_scale": BEYOND_SHARE,
    "freeu.b1": NO_FACTOR,
    "freeu.b2": NO_FACTOR,
    "freeu.s1": NO_FACTOR,
    "freeu.s2": NO_FACTOR,
    "output.appearance_scale": BEYOND_SHARE,
    "output.keep_lightness": st.sampled_from(["perhaps", 3]),
    "latent.adain_range": NO_RANGE,
    "output.feather_px": st.sampled_from([-1.0, 64.5]),
}


def agreeing(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same, by dotted names, without what the declaration refuses beside each other."""
    found = dict(values)
    source = found.get("matching.source", "auto")
    if "matching.custom_map" in found:
        source = found["matching.source"] = "custom"
    elif source == "custom":
        found["matching.custom_map"] = [[(0.5, 0.5)]]
    elif str(found.get("preset")).startswith("paper"):
        source = found.setdefault("matching.source", "per_layer")
    if source in ("per_layer", "custom"):
        found.pop("matching.landmarks", None)
        found.pop("matching.parts", None)
    if found.get("masks.mode") == "none":
        found.pop("masks.regions", None)
    if found.get("preset") == "paper-sd15":  # its layers are another backbone's
        found["injection.layers"] = found.get("injection.layers")
    return found


def groups() -> dict[str, type[ParameterGroup]]:
    """The groups of parameters, by name."""
    kinds = {
        name: [*get_args(field.annotation), field.annotation] for name, field in TransferParams.model_fields.items()
    }
    return {
        name: kind
        for name, several in kinds.items()
        for kind in several
        if isinstance(kind, type) and issubclass(kind, ParameterGroup)
    }


def leaves() -> list[tuple[str, FieldInfo]]:
    """Every parameter by its dotted name."""
    grouped = groups()
    top = [(name, field) for name, field in TransferParams.model_fields.items() if name not in grouped]
    return top + [
        (f"{path}.{name}", field) for path, group in grouped.items() for name, field in group.model_fields.items()
    ]


def by_path(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values of groups by dotted names: the way back from `core.params.transfer.nested`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if name in groups() and isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": one for inner, one in value.items()}
        else:
            flat[name] = value
    return flat


def names_parameter(error: ErrorDetails, path: str) -> bool:
    """Whether an error is at the parameter of this dotted name, or at its group with the parameter in its message."""
    place, (*group, name) = error["loc"], path.split(".")
    return place[: len(group) + 1] == (*group, name) or (place == tuple(group) and name in error["msg"])
