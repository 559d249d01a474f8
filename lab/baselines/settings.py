"""Methods that are our sampler with other parameters: what makes each another method.

Ranges are those of their publications, as noise levels. Steps and matching are as ours; all else of ours is off. A
search may override single values (`Case.overrides`), so that each method can be shown at its best.
"""

from collections.abc import Mapping
from typing import Any

Changes = Mapping[str, Any]
"""Values by dotted names of `core.params.transfer.TransferParams`."""

NEUTRAL: Changes = {
    "injection.mode": "feature",
    "injection.scale": 1.0,
    "injection.swap_guidance_scale": 1.0,
    "injection.contrast_strength": 1.0,
    "latent.warp_strength": 0.0,
    "latent.shading_strength": 0.0,
    "latent.reanchor_level": 0.0,
    "noise.mode": "structure",
    "noise.noise_map_scale": 1.0,
    "freeu.b1": 1.0,
    "freeu.b2": 1.0,
    "freeu.s1": 1.0,
    "freeu.s2": 1.0,
    "latent.adain_range": (0.0, 0.0),
}
"""Every choice of ours that is no schedule and no matching, switched off, so that none reaches another method."""

NOTHING_EDITED: Changes = {**NEUTRAL, "injection.layers": ()}
"""The sampler that merely reconstructs the target."""

PAPER_ADAIN_RANGE = (0.181, 0.0)

_ATTENTION_ALONE: Changes = {
    **NEUTRAL,
    "injection.layers": ("up_blocks.0", "up_blocks.1"),
    "injection.range": (0.561, 0.0),
    "injection.structure_range": (0.561, 0.311),
    "injection.structure_every": 5,
}
"""Steps 11 to 67 of 68 from t = 671, the structure again at 11, 16, ..., 36: arXiv 2406.07008, and the code of
arXiv 2311.03335 alike."""

SETTINGS: Mapping[str, Changes] = {
    # The paper's rearranged features alone (arXiv 2406.07008), with our matches; and its two ablations.
    "feature_injection": _ATTENTION_ALONE,
    "kv_injection": {**_ATTENTION_ALONE, "injection.mode": "kv"},
    "v_injection": {**_ATTENTION_ALONE, "injection.mode": "v"},
    # arXiv 2311.03335: swapped keys and values, contrast, appearance guidance, and AdaIN from its 21st step on.
    "cross_image_attention": {
        **_ATTENTION_ALONE,
        "injection.mode": "cross_image",
        "injection.contrast_strength": 1.67,
        "injection.swap_guidance_scale": 3.5,
        "latent.adain_range": (0.471, 0.0),
    },
    # arXiv 2406.07540: its layers, the first 60 % of the schedule, forward noise in place of the structure's maps.
    "soft_statistics": {
        **_ATTENTION_ALONE,
        "injection.mode": "ctrl_x",
        "injection.layers": ("down_blocks.1", "down_blocks.2", "up_blocks.0.attentions.1", "up_blocks.1"),
        "injection.range": (1.0, 0.4),
        "noise.mode": "forward",
    },
    # The latent's moments alone (arXiv 1703.06868), at the paper's noise levels.
    "adain": {**NOTHING_EDITED, "latent.adain_range": PAPER_ADAIN_RANGE},
}
