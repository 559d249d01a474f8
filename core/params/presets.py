"""Named settings: nested values of `core.params.transfer.TransferParams`, validated as if a caller had given them."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

Preset = Literal["balanced", "fast", "few-steps", "paper", "paper-sd15"]
PRESET_NAMES: tuple[Preset, ...] = get_args(Preset)

_PAPER_INJECTION: Mapping[str, Any] = {
    "mode": "feature",
    "scale": 1.0,
    # i = 11 to 67, and the structure again at i = 11, 16, ..., 36.
    "range": (0.561, 0.0),
    "structure_range": (0.561, 0.311),
    "structure_every": 5,
}
_PAPER: Mapping[str, Any] = {
    # 100 steps of which the last 68 are sampled; step i of those is at noise level (671 - 10 i) / 1000.
    "num_inference_steps": 100,
    "strength": 0.68,
    "guidance_scale": 2.5,
    "matching": {
        "source": "per_layer",
        "neighbor_weight": 0.0,
        "global_affine_weight": 0.0,
        "local_affine_sigma": 0.0,
        "max_segments": 0,
    },
    "latent": {
        "warp_strength": 0.0,
        "shading_strength": 0.0,
        "reanchor_level": 0.0,
        # i = 49 to 67.
        "adain_range": (0.181, 0.0),
    },
}
"""Go, Choi, Shin, Uh, arXiv 2406.07008, as their public code runs."""

PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    "balanced": {},
    "fast": {"num_inference_steps": 10, "matching": {"ensemble_size": 2}},
    # For distilled networks, SDXL-Turbo or with a Lightning or LCM LoRA: their timesteps, no guidance.
    "few-steps": {
        "num_inference_steps": 8,
        "timestep_spacing": "trailing",
        "guidance_scale": 1.0,
        "matching": {"ensemble_size": 2},
    },
    "paper": {
        **_PAPER,
        "injection": {**_PAPER_INJECTION, "layers": ("up_blocks.0", "up_blocks.1")},
        "freeu": {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2},
    },
    "paper-sd15": {
        **_PAPER,
        "resolution": 512,
        "injection": {**_PAPER_INJECTION, "layers": ("up_blocks.2", "up_blocks.3")},
        "freeu": {"b1": 1.5, "b2": 1.6, "s1": 0.9, "s2": 0.2},
    },
}
"""FreeU's factors are those that its authors give for the backbone (arXiv 2309.11497)."""
