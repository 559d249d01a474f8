"""Networks of transformers beside the main checkpoint.

The optional correspondence model, from a folder or a hub id at a pinned revision, as the main checkpoint is.

The optional CLIP that tells parts apart, from a folder or a hub id at a pinned revision.

Optional segmentation models, from a folder or a hub id at a pinned revision, as the main checkpoint is.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    CLIPModel,
    CLIPSegForImageSegmentation,
    CLIPTokenizer,
    PreTrainedModel,
    Sam2Model,
    SamHQModel,
    SamModel,
)
from transformers.image_processing_base import ImageProcessingMixin

from checkpoints.errors import CheckpointUnsupported
from checkpoints.hub import pinned
from core.models.models import VisionModel
from core.models.part_classifier import PartFinder
from core.models.preprocessing import Interpolation, Recipe
from core.models.segmenters import Segmenter, TextSegmenter


def load_network(source: str, commit: str | None, kinds: Mapping[str, Any], device: torch.device) -> Any:
    """A frozen network in float32, of the class that `kinds` has for its configuration's `model_type`.

    Raises ValueError for another type, and OSError for files that are missing or no safetensors.
    """
    kind = AutoConfig.from_pretrained(source, revision=commit).model_type
    if kind not in kinds:
        raise ValueError(f"its model_type is {kind!r}; one of {', '.join(kinds)} is needed")
    model: PreTrainedModel = kinds[kind].from_pretrained(
        source, revision=commit, use_safetensors=True, dtype=torch.float32
    )
    return model.requires_grad_(False).eval().to(device)


Colour = tuple[float, float, float]


def read_preparation(source: str, commit: str | None) -> tuple[int, Colour, Colour]:
    """Side in pixels, mean and standard deviation by channel, that pictures are brought to. Raises ValueError,
    KeyError or OSError where `preprocessor_config.json` does not say."""
    recipe, _ = ImageProcessingMixin.get_image_processor_dict(source, revision=commit)
    side = picture_side(recipe)
    if side is None:
        raise ValueError("its preprocessor_config.json names no size")
    return side, tuple(recipe["image_mean"]), tuple(recipe["image_std"])


def picture_side(preparation: Mapping[str, Any]) -> int | None:
    """Side in pixels of the square that a `preprocessor_config.json` ends in; None where it names none."""
    for name in ("crop_size", "size"):
        size = preparation.get(name)
        if isinstance(size, int):
            return size
        if isinstance(size, dict) and size.keys() & {"height", "shortest_edge"}:
            return int(size.get("height") or size["shortest_edge"])
    return None


_CORRESPONDENCE_KINDS = dict.fromkeys(("dinov2", "dinov2_with_registers", "dinov3_vit"), AutoModel)
"""By the configuration's `model_type`: class token, registers if any, then patches in reading order."""


def load_correspondence(source: str, revision: str | None, device: torch.device) -> VisionModel:
    """DINOv2 (with registers or without) or DINOv3, in float32.

    Pictures are read at the side of `crop_size`, else `size`, of `preprocessor_config.json`, and with 16 patches a side
    at least. Beside the UNet its cosines weigh what `fusion_weight` in `config.json` says, 1 where nothing does. Raises
    the errors of `checkpoints.errors`, naming PLUMAGE_CORRESPONDENCE.
    """
    commit = pinned(source, revision, "PLUMAGE_CORRESPONDENCE_REVISION")
    try:
        network = load_network(source, commit, _CORRESPONDENCE_KINDS, device)
        side, mean, std = read_preparation(source, commit)
        weight = float(getattr(network.config, "fusion_weight", 1.0))
        if not 0.0 < weight < math.inf:
            raise ValueError(f"fusion_weight in config.json is {weight}, not a finite number over 0")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointUnsupported(f"PLUMAGE_CORRESPONDENCE={source}: cannot be loaded: {error}") from error
    return VisionModel(network, mean, std, max(side, 16 * int(network.config.patch_size)), weight)


_PART_KINDS = {"clip": CLIPModel}


def load_part_finder(source: str, revision: str | None, device: torch.device) -> PartFinder:
    """CLIP in float32, both halves. Raises the errors of `checkpoints.errors`, naming PLUMAGE_PART_FINDER."""
    commit = pinned(source, revision, "PLUMAGE_PART_FINDER_REVISION")
    try:
        model = load_network(source, commit, _PART_KINDS, device)
        tokenizer = CLIPTokenizer.from_pretrained(source, revision=commit)
        side, mean, std = read_preparation(source, commit)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointUnsupported(f"PLUMAGE_PART_FINDER={source}: cannot be loaded: {error}") from error
    return PartFinder(model, tokenizer, mean, std, side)


_SAM = {"sam": SamModel, "sam_hq": SamHQModel, "sam2": Sam2Model, "sam2_video": Sam2Model}
"""By the configuration's `model_type`. The published SAM 2.1 files call themselves `sam2_video` and hold both."""
_CLIPSEG = {"clipseg": CLIPSegForImageSegmentation}
_INTERPOLATIONS: dict[int, Interpolation] = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""By Pillow's number. Lanczos (1) has no counterpart here."""


def load_segmenter(source: str, revision: str | None, device: torch.device) -> Segmenter:
    """SAM, SAM-HQ or SAM 2, in float32. Raises the errors of `checkpoints.errors`, naming PLUMAGE_SEGMENTER."""
    commit = pinned(source, revision, "PLUMAGE_SEGMENTER_REVISION")
    try:
        model = load_network(source, commit, _SAM, device)
        return Segmenter(model, read_recipe(source, commit))
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointUnsupported(f"PLUMAGE_SEGMENTER={source}: cannot be loaded: {error}") from error


def load_text_segmenter(source: str, revision: str | None, device: torch.device) -> TextSegmenter:
    """CLIPSeg, in float32. Raises the errors of `checkpoints.errors`, naming PLUMAGE_TEXT_SEGMENTER."""
    commit = pinned(source, revision, "PLUMAGE_TEXT_SEGMENTER_REVISION")
    try:
        model = load_network(source, commit, _CLIPSEG, device)
        tokenizer = CLIPTokenizer.from_pretrained(source, revision=commit)
        return TextSegmenter(model, tokenizer, read_recipe(source, commit))
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointUnsupported(f"PLUMAGE_TEXT_SEGMENTER={source}: cannot be loaded: {error}") from error


def read_recipe(source: str, commit: str | None) -> Recipe:
    """What `preprocessor_config.json` (or `processor_config.json`) of a checkpoint says of its pictures.

    Raises OSError without such a file, and ValueError or KeyError for one that asks for what `Recipe` cannot do.
    """
    config, _ = ImageProcessingMixin.get_image_processor_dict(source, revision=commit)
    return parse_recipe(config)


def parse_recipe(config: Mapping[str, Any]) -> Recipe:
    """Raises ValueError or KeyError for values that are missing or that `Recipe` cannot follow."""
    size = config["size"]
    keep_aspect = isinstance(size, Mapping) and "longest_edge" in size
    if keep_aspect:
        # Padded to a square of that side, as SAM was trained.
        padded = config.get("pad_size") or {"height": size["longest_edge"], "width": size["longest_edge"]}
        height, width = int(padded["height"]), int(padded["width"])
        if max(height, width) != int(size["longest_edge"]):
            raise ValueError(f"pad_size {json.dumps(dict(padded))} does not fit longest_edge {size['longest_edge']}")
    elif isinstance(size, Mapping):
        height, width = int(size["height"]), int(size["width"])
    else:
        height = width = int(size)
    interpolation = _INTERPOLATIONS.get(config.get("resample", 2))
    if interpolation is None:
        raise ValueError(f"resample {config['resample']} is not supported")
    normalized = config.get("do_normalize", True)
    mean = tuple(config["image_mean"]) if normalized else (0.0, 0.0, 0.0)
    std = tuple(config["image_std"]) if normalized else (1.0, 1.0, 1.0)
    return Recipe((height, width), keep_aspect, mean, std, interpolation)
