"""The optional CLIP that tells parts apart, from a folder or a hub id at a pinned revision."""

import torch
from transformers import CLIPModel, CLIPTokenizer
from transformers.image_processing_base import ImageProcessingMixin

from checkpoints.errors import CheckpointUnsupported
from checkpoints.networks import load_network, picture_side
from checkpoints.sources import pinned
from core.parts import PartFinder

_KINDS = {"clip": CLIPModel}


def load_part_finder(source: str, revision: str | None, device: torch.device) -> PartFinder:
    """CLIP in float32, both halves. Raises the errors of `checkpoints.errors`, naming PLUMAGE_PART_FINDER."""
    commit = pinned(source, revision, "PLUMAGE_PART_FINDER_REVISION")
    try:
        model = load_network(source, commit, _KINDS, device)
        tokenizer = CLIPTokenizer.from_pretrained(source, revision=commit)
        recipe, _ = ImageProcessingMixin.get_image_processor_dict(source, revision=commit)
        side = picture_side(recipe)
        if side is None:
            raise ValueError("its preprocessor_config.json names no size")
        mean, std = tuple(recipe["image_mean"]), tuple(recipe["image_std"])
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointUnsupported(f"PLUMAGE_PART_FINDER={source}: cannot be loaded: {error}") from error
    return PartFinder(model, tokenizer, mean, std, side)
