"""Networks of transformers beside the main checkpoint."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedModel
from transformers.image_processing_base import ImageProcessingMixin


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
