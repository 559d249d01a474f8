"""The optional models beside the main checkpoint: segmenters, the correspondence model, and CLIP for part names.

Each is a network of transformers in float32, from a folder or a hub id at a pinned revision. Every loader raises the
errors of `checkpoints.errors`, whose messages name its setting.
"""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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

# Classes by the `model_type` of the configuration.
_SAM = {"sam": SamModel, "sam_hq": SamHQModel, "sam2": Sam2Model, "sam2_video": Sam2Model}
"""The published SAM 2.1 files call themselves `sam2_video` and contain both."""
_CLIPSEG = {"clipseg": CLIPSegForImageSegmentation}
_DINO = dict.fromkeys(("dinov2", "dinov2_with_registers", "dinov3_vit"), AutoModel)
"""Tokens: class token, registers if any, then patches in reading order."""
_CLIP = {"clip": CLIPModel}

Color = tuple[float, float, float]
_INTERPOLATIONS: dict[int, Interpolation] = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""By Pillow's number. Lanczos (1) has no counterpart here."""


def load_segmenter(source: str, revision: str | None, device: torch.device) -> Segmenter:
    """SAM, SAM-HQ or SAM 2 of PLUMAGE_SEGMENTER."""
    commit = pinned(source, revision, "PLUMAGE_SEGMENTER_REVISION")
    with _loading("PLUMAGE_SEGMENTER", source):
        return Segmenter(load_network(source, commit, _SAM, device), read_recipe(source, commit))


def load_text_segmenter(source: str, revision: str | None, device: torch.device) -> TextSegmenter:
    """CLIPSeg of PLUMAGE_TEXT_SEGMENTER."""
    commit = pinned(source, revision, "PLUMAGE_TEXT_SEGMENTER_REVISION")
    with _loading("PLUMAGE_TEXT_SEGMENTER", source):
        model = load_network(source, commit, _CLIPSEG, device)
        tokenizer = CLIPTokenizer.from_pretrained(source, revision=commit)
        return TextSegmenter(model, tokenizer, read_recipe(source, commit))


def load_correspondence(source: str, revision: str | None, device: torch.device) -> VisionModel:
    """DINOv2 (with registers or without) or DINOv3 of PLUMAGE_CORRESPONDENCE.

    Its pictures have the side of `crop_size`, else `size`, of `preprocessor_config.json`, and at least 16 patches a
    side. `fusion_weight` of `config.json`, 1 where it is absent, is the weight of its cosines beside the UNet's.
    """
    commit = pinned(source, revision, "PLUMAGE_CORRESPONDENCE_REVISION")
    with _loading("PLUMAGE_CORRESPONDENCE", source):
        network = load_network(source, commit, _DINO, device)
        side, mean, std = read_preparation(source, commit)
        weight = float(getattr(network.config, "fusion_weight", 1.0))
        if not 0.0 < weight < math.inf:
            raise ValueError(f"fusion_weight in config.json is {weight}, not a finite number over 0")
        return VisionModel(network, mean, std, max(side, 16 * int(network.config.patch_size)), weight)


def load_part_finder(source: str, revision: str | None, device: torch.device) -> PartFinder:
    """CLIP of PLUMAGE_PART_FINDER, its picture half and its text half."""
    commit = pinned(source, revision, "PLUMAGE_PART_FINDER_REVISION")
    with _loading("PLUMAGE_PART_FINDER", source):
        model = load_network(source, commit, _CLIP, device)
        tokenizer = CLIPTokenizer.from_pretrained(source, revision=commit)
        side, mean, std = read_preparation(source, commit)
        return PartFinder(model, tokenizer, mean, std, side)


@contextmanager
def _loading(setting: str, source: str) -> Iterator[None]:
    """Turns the errors of files that are missing, damaged or of another model into CheckpointUnsupported."""
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointUnsupported(f"{setting}={source}: cannot be loaded: {error}") from error


def load_network(source: str, commit: str | None, kinds: Mapping[str, Any], device: torch.device) -> Any:
    """A frozen network in float32, of the class in `kinds` for its configuration's `model_type`.

    Raises ValueError for another type, and OSError for files that are missing or not safetensors.
    """
    kind = AutoConfig.from_pretrained(source, revision=commit).model_type
    if kind not in kinds:
        raise ValueError(f"its model_type is {kind!r}; one of {', '.join(kinds)} is needed")
    model: PreTrainedModel = kinds[kind].from_pretrained(
        source, revision=commit, use_safetensors=True, dtype=torch.float32
    )
    return model.requires_grad_(False).eval().to(device)


def read_preparation(source: str, commit: str | None) -> tuple[int, Color, Color]:
    """Side in pixels of a checkpoint's pictures, and mean and standard deviation by channel.

    Raises OSError without `preprocessor_config.json`, and ValueError or KeyError where it lacks one of them.
    """
    recipe, _ = ImageProcessingMixin.get_image_processor_dict(source, revision=commit)
    side = picture_side(recipe)
    if side is None:
        raise ValueError("its preprocessor_config.json names no size")
    return side, tuple(recipe["image_mean"]), tuple(recipe["image_std"])


def picture_side(preparation: Mapping[str, Any]) -> int | None:
    """Side in pixels of the square to which a `preprocessor_config.json` crops or resizes; None where it names none."""
    for name in ("crop_size", "size"):
        size = preparation.get(name)
        if isinstance(size, int):
            return size
        if isinstance(size, dict) and size.keys() & {"height", "shortest_edge"}:
            return int(size.get("height") or size["shortest_edge"])
    return None


def read_recipe(source: str, commit: str | None) -> Recipe:
    """How the pictures of a checkpoint are prepared, from `preprocessor_config.json` or `processor_config.json`.

    Raises OSError without such a file, and ValueError or KeyError as `parse_recipe` does.
    """
    config, _ = ImageProcessingMixin.get_image_processor_dict(source, revision=commit)
    return parse_recipe(config)


def parse_recipe(config: Mapping[str, Any]) -> Recipe:
    """Raises ValueError or KeyError for values that are missing or that `Recipe` does not support."""
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
