"""What is tried, method by method: each trial changes what was best so far, in this order.

Every method has the same number of trials, so that none is tuned harder than another. `num_inference_steps` and
`strength` are never tried: all methods have equal steps. A trial that changes several parameters at once is a choice
that needs them together.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Trial = Mapping[str, Any]
"""Values by dotted names of `core.params.transfer.TransferParams`."""

FREEU: Trial = {"freeu.b1": 1.3, "freeu.b2": 1.4, "freeu.s1": 0.9, "freeu.s2": 0.2}
"""As its authors give them for SDXL."""
MILD_FREEU: Trial = {"freeu.b1": 1.1, "freeu.b2": 1.2, "freeu.s1": 0.9, "freeu.s2": 0.6}

_NOISE: tuple[Trial, ...] = (
    {"noise.noise_map_scale": 0.7},
    {"noise.noise_map_scale": 0.4},
    {"noise.noise_map_scale": 0.0, "noise.range": (0.35, 0.0)},
    {"noise.mode": "blend", "noise.noise_map_scale": 0.7},
)
_ADAIN: tuple[Trial, ...] = ({"latent.adain_range": (0.181, 0.0)}, {"latent.adain_range": (0.471, 0.0)})
_REINJECTION: tuple[Trial, ...] = (
    {"injection.structure_every": 0},
    {"injection.structure_every": 3},
    {"injection.structure_range": (0.7, 0.4)},
)
_ATTENTION: tuple[Trial, ...] = (
    {"injection.range": (0.7, 0.0)},
    {"injection.range": (0.4, 0.0)},
    {"injection.layers": ("up_blocks.1",)},
    {"injection.layers": ("mid_block", "up_blocks.0", "up_blocks.1")},
    *_REINJECTION,
    *_NOISE,
    *_ADAIN,
    FREEU,
    MILD_FREEU,
    {"injection.scale": 0.7},
)

TRIALS: Mapping[str, Sequence[Trial]] = {
    "ours": (
        {"latent.warp_strength": 0.6},
        {"latent.shading_strength": 0.5},
        {"latent.warp_range": (0.7, 0.35), "latent.reanchor_level": 0.4},
        {"latent.reanchor_level": 0.0},
        {"matching.source": "vision"},
        {"matching.source": "unet"},
        {"matching.neighbor_weight": 4.0},
        {"matching.global_affine_weight": 0.0},
        {"injection.range": (0.4, 0.0)},
        {"injection.layers": ()},
        {"injection.mode": "block_output"},
        *_NOISE,
        FREEU,
    ),
    "feature_injection": _ATTENTION,
    "kv_injection": _ATTENTION,
    "v_injection": _ATTENTION,
    "cross_image_attention": (
        {"injection.contrast_strength": 1.3},
        {"injection.contrast_strength": 2.2},
        {"injection.swap_guidance_scale": 1.0},
        {"injection.swap_guidance_scale": 2.0},
        {"injection.range": (0.7, 0.0)},
        {"injection.range": (0.4, 0.0)},
        {"injection.layers": ("up_blocks.1",)},
        {"injection.layers": ("mid_block", "up_blocks.0", "up_blocks.1")},
        {"injection.structure_every": 0},
        {"injection.structure_every": 3},
        {"noise.noise_map_scale": 0.7},
        {"noise.noise_map_scale": 0.4},
        {"latent.adain_range": (0.181, 0.0)},
        {"latent.adain_range": (0.0, 0.0)},
        FREEU,
        MILD_FREEU,
    ),
    "soft_statistics": (
        {"noise.mode": "blend", "noise.noise_map_scale": 0.7},
        {"noise.mode": "blend", "noise.noise_map_scale": 0.4},
        {"noise.mode": "structure", "noise.noise_map_scale": 1.0},
        {"noise.mode": "structure", "noise.noise_map_scale": 0.5},
        {"noise.range": (1.0, 0.4)},
        {"injection.range": (1.0, 0.0)},
        {"injection.range": (0.6, 0.0)},
        {"injection.layers": ("up_blocks.0", "up_blocks.1")},
        {"injection.layers": ("up_blocks.1",)},
        *_REINJECTION,
        *_ADAIN,
        FREEU,
        {"injection.scale": 0.7},
    ),
    "adain": (
        {"latent.adain_range": (0.1, 0.0)},
        {"latent.adain_range": (0.3, 0.0)},
        {"latent.adain_range": (0.471, 0.0)},
        {"latent.adain_range": (0.7, 0.0)},
        {"latent.adain_range": (0.7, 0.3)},
        {"latent.adain_range": (0.471, 0.181)},
        {"noise.noise_map_scale": 0.9},
        *_NOISE,
        {"noise.noise_map_scale": 0.0},
        {"noise.mode": "blend", "noise.noise_map_scale": 0.4},
        {"noise.noise_map_scale": 0.4, "noise.range": (0.7, 0.35)},
        FREEU,
        MILD_FREEU,
    ),
}
