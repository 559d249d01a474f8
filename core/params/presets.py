"""Named settings: a table of values by names of `core.params.transfer.TransferParams`, each of the type that it has
there."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

Preset = Literal["balanced", "fast", "few-steps", "paper", "paper-sd15"]
PRESET_NAMES: tuple[Preset, ...] = get_args(Preset)
_PAPER: Mapping[str, Any] = {
    # 100 steps of which the last 68 are sampled; step i of those is at noise level (671 - 10 i) / 1000.
    "num_steps": 100,
    "strength": 0.68,
    "guidance_scale": 2.5,
    "match_source": "layer",
    "match_smoothness": 0.0,
    "match_rigidity": 0.0,
    "match_refinement": 0.0,
    "match_pieces": 0,
    "injection_mode": "feature",
    "injection_strength": 1.0,
    # i = 11 to 67, and the structure again at i = 11, 16, ..., 36.
    "injection_range": (0.561, 0.0),
    "reinjection_range": (0.561, 0.311),
    "reinjection_every": 5,
    # i = 49 to 67.
    "adain_range": (0.181, 0.0),
    "clean_latent_strength": 0.0,
    "shading_strength": 0.0,
    "reanchor_level": 0.0,
}
"""Go, Choi, Shin, Uh, arXiv 2406.07008, as their public code runs."""
PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    "balanced": {},
    "fast": {"num_steps": 10, "match_draws": 2},
    # For distilled networks, SDXL-Turbo or with a Lightning or LCM LoRA: their timesteps, no guidance.
    "few-steps": {"num_steps": 8, "step_spacing": "trailing", "guidance_scale": 1.0, "match_draws": 2},
    "paper": {
        **_PAPER,
        "injection_layers": ("up_blocks.0", "up_blocks.1"),
        "freeu_b1": 1.3,
        "freeu_b2": 1.4,
        "freeu_s1": 0.9,
        "freeu_s2": 0.2,
    },
    "paper-sd15": {
        **_PAPER,
        "resolution": 512,
        "injection_layers": ("up_blocks.2", "up_blocks.3"),
        "freeu_b1": 1.5,
        "freeu_b2": 1.6,
        "freeu_s1": 0.9,
        "freeu_s2": 0.2,
    },
}
"""FreeU's factors are those that its authors give for the backbone (arXiv 2309.11497)."""
