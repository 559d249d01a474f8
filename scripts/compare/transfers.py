"""The twelve transfers that are compared, in today's names, and their pictures. Together they turn every parameter.

All are small, so that a run takes minutes: matching and sampling see 64 pixels, or few more.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SAMPLES = Path(__file__).parents[2] / "docs" / "samples"
SMALL = {"resolution": 64}
TALL = (160, 208)
"""Width and height of a target that is cut out, so that sides differ."""


@dataclass(frozen=True)
class Transfer:
    name: str
    sample: str
    """Which pair of docs/samples: bird, car or fish."""
    params: Mapping[str, Any] = field(default_factory=dict)
    masked: bool = True
    """Whether the pair's masks are given."""
    seeds: tuple[int, ...] = (1,)
    prompt: str = ""
    negative_prompt: str = ""
    cut_out: bool = False
    """Whether the target is higher than wide, and fades out to its right."""
    pictures: tuple[str, ...] = ()
    """Names of pairs whose references regions name, with their masks as `of_NAME`. Then also the target's halves are
    there, as the masks `left` and `right`."""


def _turned(cells: int) -> list[list[tuple[float, float]]]:
    """A correspondence that shrinks and leans: every cell's place in the reference."""
    places = (np.arange(cells) + 0.5) / cells
    return [[(round(0.1 + 0.7 * x + 0.1 * y, 4), round(0.2 + 0.6 * y, 4)) for x in places] for y in places]


TRANSFERS = (
    Transfer("balanced, masks given", "bird", {"preset": "balanced", **SMALL}),
    Transfer("fast, whole pictures", "fish", {"preset": "fast", **SMALL}, masked=False),
    Transfer(
        "few-steps, cut out target",
        "car",
        {"preset": "few-steps", "resolution": 96},
        masked=False,
        cut_out=True,
    ),
    Transfer("paper", "bird", {"preset": "paper", **SMALL}, prompt="a bird", negative_prompt="blue"),
    Transfer(
        "paper-sd15 on layers of its own",
        "fish",
        {"preset": "paper-sd15", **SMALL, "injection": {"layers": ["up_blocks.0", "up_blocks.1"]}},
        prompt="a photo of a fish",
    ),
    Transfer(
        "regions",
        "car",
        {
            "resolution": 96,
            "masks": {
                "regions": [
                    {"target_mask": "left"},
                    {"target_mask": "right", "reference": "fish", "reference_mask": "of_fish", "scale": 0.8},
                ]
            },
        },
        pictures=("fish",),
    ),
    Transfer(
        "three seeds, parts by name",
        "bird",
        {
            **SMALL,
            "eta": 0.5,
            "matching": {"ensemble_size": 2, "realign": False, "parts": ["wing", "head", "tail"], "part_weight": 0.5},
            "injection": {"mode": "v", "scale": 0.7},
        },
        seeds=(7, 2**40, 0),
    ),
    Transfer(
        "mask mode auto, source vision",
        "fish",
        {
            **SMALL,
            "masks": {"mode": "auto"},
            "matching": {"source": "vision", "mirrored": True, "filter": "both", "fill": "nearest", "max_segments": 4},
            "latent": {"shading_strength": 0.4},
            "injection": {"mode": "block_output"},
        },
        masked=False,
    ),
    Transfer(
        "mask mode none, source unet",
        "car",
        {
            **SMALL,
            "strength": 0.9,
            "timestep_spacing": "trailing",
            "num_inference_steps": 12,
            "masks": {"mode": "none"},
            "matching": {
                "source": "unet",
                "layers": ["up_blocks.0", "up_blocks.1"],
                "noise_level": 0.3,
                "filter": "ratio",
                "neighbor_weight": 0.5,
                "local_affine_sigma": 0.0,
            },
            "injection": {"mode": "kv", "range": [0.5, 0.1], "structure_every": 0},
            "noise": {"mode": "forward", "range": [0.5, 0.2]},
        },
    ),
    Transfer(
        "landmarks, cross-image attention",
        "bird",
        {
            **SMALL,
            "matching": {
                "landmarks": [
                    {"target": [0.3, 0.4], "reference": [0.6, 0.5]},
                    {"target": [0.7, 0.6], "reference": [0.4, 0.4]},
                ],
                "landmark_radius": 0.3,
                "crop": False,
                "filter": "mutual",
                "global_affine_weight": 1.0,
            },
            "injection": {"mode": "cross_image", "swap_guidance_scale": 3.5, "contrast_strength": 1.67},
            "noise": {"mode": "blend", "noise_map_scale": 0.7},
        },
    ),
    Transfer(
        "source per_step, Ctrl-X",
        "fish",
        {
            **SMALL,
            "guidance_scale": 3.0,
            "masks": {"target_selection": {"invert": True}, "reference_selection": {"invert": True}},
            "matching": {"source": "per_step", "fill": "nearest", "filter": "mutual"},
            "injection": {"mode": "ctrl_x", "structure_range": [0.5, 0.2], "structure_every": 2},
            "latent": {"adain_range": [0.3, 0.1], "reanchor_level": 0.0},
            "freeu": {"b1": 1.1, "b2": 1.2, "s1": 0.9, "s2": 0.8},
        },
        prompt="a fish",
    ),
    Transfer(
        "a correspondence of one's own, lightness kept",
        "car",
        {
            **SMALL,
            "matching": {"source": "custom", "custom_map": _turned(12)},
            "latent": {"warp_strength": 0.8, "warp_range": [0.6, 0.3]},
            "output": {"keep_lightness": True, "appearance_scale": 0.6, "feather_px": 4.0},
        },
        cut_out=True,
        seeds=(3, 4),
    ),
)


@dataclass(frozen=True)
class Pictures:
    """What a transfer starts from; masks are grey, white is inside."""

    target: Image.Image
    reference: Image.Image
    target_mask: Image.Image | None
    reference_mask: Image.Image | None
    named_pictures: Mapping[str, Image.Image]
    named_masks: Mapping[str, Image.Image]


def pictures_of(transfer: Transfer) -> Pictures:
    target, target_mask = _sample(transfer.sample, "target"), _sample(transfer.sample, "target-mask")
    if transfer.cut_out:
        target, target_mask = _cut(target), _cut(target_mask)
        target.putalpha(_fading(target.size))
    named_masks = {f"of_{name}": _sample(name, "reference-mask") for name in transfer.pictures}
    if transfer.pictures:
        named_masks |= _halves(target.size)
    return Pictures(
        target,
        _sample(transfer.sample, "reference"),
        target_mask if transfer.masked else None,
        _sample(transfer.sample, "reference-mask") if transfer.masked else None,
        {name: _sample(name, "reference") for name in transfer.pictures},
        named_masks,
    )


def _sample(name: str, role: str) -> Image.Image:
    with Image.open(SAMPLES / f"{name}-{role}.png") as image:
        image.load()
        return image


def _cut(image: Image.Image) -> Image.Image:
    left, top = (image.width - TALL[0]) // 2, (image.height - TALL[1]) // 2
    return image.crop((left, top, left + TALL[0], top + TALL[1]))


def _fading(size: tuple[int, int]) -> Image.Image:
    """Opaque in the left half, transparent at the right border."""
    row = np.clip(2.0 - 2.0 * np.arange(size[0]) / size[0], 0.0, 1.0) * 255.0
    return Image.fromarray(np.tile(row.round().astype(np.uint8), (size[1], 1)))


def _halves(size: tuple[int, int]) -> dict[str, Image.Image]:
    """Masks of both halves; they overlap in the middle, softly."""
    place = np.arange(size[0]) / size[0]
    masks = {"left": np.clip(6.0 - 10.0 * place, 0.0, 1.0), "right": np.clip(10.0 * place - 4.0, 0.0, 1.0)}
    return {
        name: Image.fromarray(np.tile((row * 255.0).round().astype(np.uint8), (size[1], 1)))
        for name, row in masks.items()
    }
