"""What is tried, method by method: each trial changes what was best so far, in this order.

Every method has the same number of trials, so that none is tuned harder than another. `num_steps` and `strength` are
never tried: all methods have equal steps. A trial that changes several knobs at once is a choice that needs them
together.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Trial = Mapping[str, Any]
"""Values by names of `core.params.transfer.TransferParams`."""

FREEU: Trial = {"freeu_b1": 1.3, "freeu_b2": 1.4, "freeu_s1": 0.9, "freeu_s2": 0.2}
"""As its authors give them for SDXL."""
MILD_FREEU: Trial = {"freeu_b1": 1.1, "freeu_b2": 1.2, "freeu_s1": 0.9, "freeu_s2": 0.6}

_NOISE: tuple[Trial, ...] = (
    {"structure_strength": 0.7},
    {"structure_strength": 0.4},
    {"structure_strength": 0.0, "noise_range": (0.35, 0.0)},
    {"noise_mode": "blend", "structure_strength": 0.7},
)
_ADAIN: tuple[Trial, ...] = ({"adain_range": (0.181, 0.0)}, {"adain_range": (0.471, 0.0)})
_REINJECTION: tuple[Trial, ...] = (
    {"reinjection_every": 0},
    {"reinjection_every": 3},
    {"reinjection_range": (0.7, 0.4)},
)
_ATTENTION: tuple[Trial, ...] = (
    {"injection_range": (0.7, 0.0)},
    {"injection_range": (0.4, 0.0)},
    {"injection_layers": ("up_blocks.1",)},
    {"injection_layers": ("mid_block", "up_blocks.0", "up_blocks.1")},
    *_REINJECTION,
    *_NOISE,
    *_ADAIN,
    FREEU,
    MILD_FREEU,
    {"injection_strength": 0.7},
)

TRIALS: Mapping[str, Sequence[Trial]] = {
    "ours": (
        {"clean_latent_strength": 0.6},
        {"shading_strength": 0.5},
        {"clean_latent_range": (0.7, 0.35), "reanchor_level": 0.4},
        {"reanchor_level": 0.0},
        {"match_source": "vision"},
        {"match_source": "one_shot"},
        {"match_smoothness": 4.0},
        {"match_rigidity": 0.0},
        {"injection_range": (0.4, 0.0)},
        {"injection_layers": ()},
        {"injection_mode": "block_output"},
        *_NOISE,
        FREEU,
    ),
    "feature_injection": _ATTENTION,
    "kv_injection": _ATTENTION,
    "v_injection": _ATTENTION,
    "cross_image_attention": (
        {"attention_contrast": 1.3},
        {"attention_contrast": 2.2},
        {"injection_guidance": 1.0},
        {"injection_guidance": 2.0},
        {"injection_range": (0.7, 0.0)},
        {"injection_range": (0.4, 0.0)},
        {"injection_layers": ("up_blocks.1",)},
        {"injection_layers": ("mid_block", "up_blocks.0", "up_blocks.1")},
        {"reinjection_every": 0},
        {"reinjection_every": 3},
        {"structure_strength": 0.7},
        {"structure_strength": 0.4},
        {"adain_range": (0.181, 0.0)},
        {"adain_range": (0.0, 0.0)},
        FREEU,
        MILD_FREEU,
    ),
    "soft_statistics": (
        {"noise_mode": "blend", "structure_strength": 0.7},
        {"noise_mode": "blend", "structure_strength": 0.4},
        {"noise_mode": "structure", "structure_strength": 1.0},
        {"noise_mode": "structure", "structure_strength": 0.5},
        {"noise_range": (1.0, 0.4)},
        {"injection_range": (1.0, 0.0)},
        {"injection_range": (0.6, 0.0)},
        {"injection_layers": ("up_blocks.0", "up_blocks.1")},
        {"injection_layers": ("up_blocks.1",)},
        *_REINJECTION,
        *_ADAIN,
        FREEU,
        {"injection_strength": 0.7},
    ),
    "adain": (
        {"adain_range": (0.1, 0.0)},
        {"adain_range": (0.3, 0.0)},
        {"adain_range": (0.471, 0.0)},
        {"adain_range": (0.7, 0.0)},
        {"adain_range": (0.7, 0.3)},
        {"adain_range": (0.471, 0.181)},
        {"structure_strength": 0.9},
        *_NOISE,
        {"structure_strength": 0.0},
        {"noise_mode": "blend", "structure_strength": 0.4},
        {"structure_strength": 0.4, "noise_range": (0.7, 0.35)},
        FREEU,
        MILD_FREEU,
    ),
}
