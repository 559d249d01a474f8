"""Optional segmentation models, from a folder or a hub id at a pinned revision, as the main checkpoint is."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from transformers import (
    CLIPSegForImageSegmentation,
    CLIPTokenizer,
    Sam2Model,
    SamHQModel,
    SamModel,
)
from transformers.image_processing_base import ImageProcessingMixin

from checkpoints.errors import CheckpointUnsupported
from checkpoints.networks import load_network
from checkpoints.sources import pinned
from core.recipe import Interpolation, Recipe
from core.segment import Segmenter, TextSegmenter

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
