"""Every knob with values that are allowed and values that are not. A knob without an entry fails the tests here."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from core.params.presets import PRESET_NAMES

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
        "strength": SHARE,
    },
)
FREEU: Value = st.floats(0.1, 2.0)
MAP: Value = st.integers(1, 4).flatmap(
    lambda columns: st.lists(st.lists(PLACE, min_size=columns, max_size=columns), min_size=1, max_size=4)
)

VALID: Mapping[str, Value] = {
    "preset": st.sampled_from([None, *PRESET_NAMES]),
    "num_steps": st.just(2),
    "step_spacing": st.sampled_from(["leading", "trailing"]),
    "strength": st.floats(0.3, 1.0),
    "guidance_scale": st.floats(1.0, 20.0),
    "eta": st.floats(0.01, 1.0),
    "resolution": st.sampled_from([64, 72]),
    "mask_mode": st.sampled_from(["given", "auto", "none"]),
    "target_selection": SELECTION,
    "reference_selection": SELECTION,
    "regions": st.lists(REGION, max_size=2, unique_by=lambda region: region["target_mask"]),
    "match_source": st.sampled_from(["auto", "layer", "step", "one_shot", "vision", "fused", "given"]),
    "match_map": MAP,
    "match_layers": LAYERS,
    "match_noise_level": st.floats(0.0, 0.99),
    "match_draws": st.integers(1, 2),
    "match_smoothness": st.floats(0.0, 100.0),
    "match_rigidity": st.floats(0.0, 10.0),
    "match_framing": st.booleans(),
    "match_looks": st.sampled_from([1, 2]),
    "match_refinement": st.floats(0.0, 4.0),
    "match_pieces": st.integers(0, 32),
    "match_mirrored": st.booleans(),
    "match_every": st.integers(1, 3),
    "match_top_k": st.integers(1, 16),
    "match_confidence": st.sampled_from(["none", "mutual", "ratio", "both"]),
    "unmatched": st.sampled_from(["keep", "nearest"]),
    "part_names": st.sampled_from([(), ("wing", "head"), ("wing", "head", "tail")]),
    "part_weight": st.floats(0.0, 4.0),
    "pins": st.lists(st.fixed_dictionaries({"target": PLACE, "reference": PLACE}), max_size=3),
    "pin_radius": st.floats(0.01, 2.0),
    "injection_layers": st.one_of(st.none(), st.just([]), LAYERS),
    "injection_mode": st.sampled_from(["feature", "kv", "v", "block_output", "cross_image", "soft_statistics"]),
    "injection_strength": SHARE,
    "injection_guidance": st.floats(1.0, 10.0),
    "attention_contrast": st.floats(1.0, 5.0),
    "injection_range": RANGE,
    "reinjection_range": RANGE,
    "reinjection_every": st.integers(0, 3),
    "clean_latent_strength": SHARE,
    "clean_latent_range": RANGE,
    "shading_strength": SHARE,
    "reanchor_level": SHARE,
    "noise_mode": st.sampled_from(["structure", "forward", "blend"]),
    "noise_range": RANGE,
    "structure_strength": SHARE,
    "freeu_b1": FREEU,
    "freeu_b2": FREEU,
    "freeu_s1": FREEU,
    "freeu_s2": FREEU,
    "appearance_strength": SHARE,
    "colour_only": st.booleans(),
    "adain_range": RANGE,
    "feather_px": st.floats(0.0, 64.0),
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
    "step_spacing": st.sampled_from(["even", 1]),
    "num_steps": st.sampled_from([0, 1, 201, 2.5, "two"]),
    "strength": st.one_of(BEYOND_SHARE, st.just(0.0)),
    "guidance_scale": st.sampled_from([0.9, 20.1, float("inf")]),
    "eta": st.one_of(BEYOND_SHARE, st.just(0.0)),
    "resolution": st.sampled_from([0, 63, 2049, 100.5]),
    "mask_mode": st.sampled_from(["auto?", 1, None]),
    "target_selection": NO_SELECTION,
    "reference_selection": NO_SELECTION,
    "regions": st.sampled_from(
        [[{"strength": 2}], [{"target_mask": "../x"}], [{"reference": "target"}], [{"unknown": 1}], [{}] * 9, 1]
    ),
    "match_source": st.sampled_from(["psychic", "", 1, "given"]),
    "match_map": st.sampled_from([[[[0, 0]], [[0, 0], [1, 1]]], [[]], [[[0, 2]]], [[[0.5, 0.5]]]]),
    "match_layers": st.one_of(NO_LAYERS, st.just([])),
    "match_noise_level": st.sampled_from([-0.1, 1.0, float("nan")]),
    "match_draws": st.sampled_from([0, 33, 1.5]),
    "match_smoothness": st.sampled_from([-1.0, 100.5]),
    "match_rigidity": st.sampled_from([-0.1, 10.5]),
    "match_framing": st.sampled_from(["perhaps", 3]),
    "match_looks": st.sampled_from([0, 3]),
    "match_refinement": st.sampled_from([-0.1, 4.5]),
    "match_pieces": st.sampled_from([-1, 33]),
    "match_mirrored": st.sampled_from(["perhaps", 3]),
    "match_every": st.sampled_from([0, 201]),
    "match_top_k": st.sampled_from([0, 17]),
    "match_confidence": st.sampled_from(["blind", 1]),
    "unmatched": st.sampled_from(["guess", 1]),
    "part_names": st.sampled_from([["wing"], ["wing", "wing"], ["wing", " "], ["wing", "x" * 61], "wing"]),
    "part_weight": st.sampled_from([-0.1, 4.1]),
    "pins": st.sampled_from([[{"target": [0, 0]}], [{"target": [0, 2], "reference": [0, 0]}], 1]),
    "pin_radius": st.sampled_from([0.0, 2.1]),
    "injection_layers": NO_LAYERS,
    "injection_mode": st.sampled_from(["q", 1]),
    "injection_strength": BEYOND_SHARE,
    "injection_guidance": st.sampled_from([0.9, 10.1]),
    "attention_contrast": st.sampled_from([0.9, 5.1]),
    "injection_range": NO_RANGE,
    "reinjection_range": NO_RANGE,
    "reinjection_every": st.sampled_from([-1, 201]),
    "clean_latent_strength": BEYOND_SHARE,
    "clean_latent_range": NO_RANGE,
    "shading_strength": BEYOND_SHARE,
    "reanchor_level": BEYOND_SHARE,
    "noise_mode": st.sampled_from(["pink", 1]),
    "noise_range": NO_RANGE,
    "structure_strength": BEYOND_SHARE,
    "freeu_b1": NO_FACTOR,
    "freeu_b2": NO_FACTOR,
    "freeu_s1": NO_FACTOR,
    "freeu_s2": NO_FACTOR,
    "appearance_strength": BEYOND_SHARE,
    "colour_only": st.sampled_from(["perhaps", 3]),
    "adain_range": NO_RANGE,
    "feather_px": st.sampled_from([-1.0, 64.5]),
}


def agreeing(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same without what the declaration refuses beside each other."""
    found = dict(values)
    source = found.get("match_source", "auto")
    if "match_map" in found:
        source = found["match_source"] = "given"
    elif source == "given":
        found["match_map"] = [[(0.5, 0.5)]]
    elif str(found.get("preset")).startswith("paper"):
        source = found.setdefault("match_source", "layer")
    if source in ("layer", "given"):
        found.pop("pins", None)
        found.pop("part_names", None)
    if found.get("mask_mode") == "none":
        found.pop("regions", None)
    if found.get("preset") == "paper-sd15":  # its layers are another backbone's
        found["injection_layers"] = found.get("injection_layers")
    return found
