"""What parameters were called while they were flat, up to commit 9c73cca, by what they are called in their groups."""

from collections.abc import Callable, Mapping
from typing import Any

NEW_NAMES: Mapping[str, str] = {
    "preset": "preset",
    "num_steps": "num_inference_steps",
    "step_spacing": "timestep_spacing",
    "strength": "strength",
    "guidance_scale": "guidance_scale",
    "eta": "eta",
    "resolution": "resolution",
    "mask_mode": "masks.mode",
    "target_selection": "masks.target_selection",
    "reference_selection": "masks.reference_selection",
    "regions": "masks.regions",
    "match_source": "matching.source",
    "match_map": "matching.custom_map",
    "match_layers": "matching.layers",
    "match_noise_level": "matching.noise_level",
    "match_draws": "matching.ensemble_size",
    "match_smoothness": "matching.neighbor_weight",
    "match_rigidity": "matching.global_affine_weight",
    "match_framing": "matching.crop",
    "match_looks": "matching.realign",
    "match_refinement": "matching.local_affine_sigma",
    "match_pieces": "matching.max_segments",
    "match_mirrored": "matching.mirrored",
    "match_confidence": "matching.filter",
    "unmatched": "matching.fill",
    "part_names": "matching.parts",
    "part_weight": "matching.part_weight",
    "pins": "matching.landmarks",
    "pin_radius": "matching.landmark_radius",
    "injection_layers": "injection.layers",
    "injection_mode": "injection.mode",
    "injection_strength": "injection.scale",
    "injection_range": "injection.range",
    "reinjection_range": "injection.structure_range",
    "reinjection_every": "injection.structure_every",
    "injection_guidance": "injection.swap_guidance_scale",
    "attention_contrast": "injection.contrast_strength",
    "clean_latent_strength": "latent.warp_strength",
    "clean_latent_range": "latent.warp_range",
    "shading_strength": "latent.shading_strength",
    "adain_range": "latent.adain_range",
    "reanchor_level": "latent.reanchor_level",
    "noise_mode": "noise.mode",
    "noise_range": "noise.range",
    "structure_strength": "noise.noise_map_scale",
    "freeu_b1": "freeu.b1",
    "freeu_b2": "freeu.b2",
    "freeu_s1": "freeu.s1",
    "freeu_s2": "freeu.s2",
    "colour_only": "output.keep_lightness",
    "appearance_strength": "output.appearance_scale",
    "feather_px": "output.feather_px",
}
"""Gone without a successor: `match_top_k` and `match_every`."""

OLD_SOURCES: Mapping[str, str] = {
    "per_layer": "layer",
    "per_step": "step",
    "unet": "one_shot",
    "vision": "vision",
    "fused": "fused",
    "custom": "given",
    "auto": "auto",
}
OLD_MODES: Mapping[str, str] = {"ctrl_x": "soft_statistics"}
"""Other modes of injection keep their names."""

OLD_VALUES: Mapping[str, Callable[[Any], Any]] = {
    "matching.source": lambda source: OLD_SOURCES[source],
    "matching.realign": lambda realign: 2 if realign else 1,
    "injection.mode": lambda mode: OLD_MODES.get(mode, mode),
    "masks.regions": lambda regions: [
        {"strength" if name == "scale" else name: value for name, value in region.items()} for region in regions
    ],
}
"""Where more changed than the name: the old value of a new one."""


def flatten(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters in groups as the flat model took them. Raises KeyError for one that it did not have."""
    old_names = {new: old for old, new in NEW_NAMES.items()}
    flat = {}
    for path, value in _leaves(params):
        flat[old_names[path]] = OLD_VALUES.get(path, lambda same: same)(value)
    return flat


def _leaves(params: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Every parameter by its path, `matching.source`; what lies in no group has a path of one word."""
    leaves: list[tuple[str, Any]] = []
    for name, value in params.items():
        if isinstance(value, Mapping):
            leaves += [(f"{name}.{inner}", setting) for inner, setting in value.items()]
        else:
            leaves.append((name, value))
    return leaves
