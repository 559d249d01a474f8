"""The optional CLIP that tells parts apart, from a folder or a hub id at a pinned revision."""

import torch
from transformers import CLIPModel, CLIPTokenizer

from checkpoints.errors import CheckpointUnsupported
from checkpoints.networks import load_network, read_preparation
from checkpoints.sources import pinned
from core.parts import PartFinder

_KINDS = {"clip": CLIPModel}


def load_part_finder(source: str, revision: str | None, device: torch.device) -> PartFinder:
    """CLIP in float32, both halves. Raises the errors of `checkpoints.errors`, naming PLUMAGE_PART_FINDER."""
    commit = pinned(source, revision, "PLUMAGE_PART_FINDER_REVISION")
    try:
        model = load_network(source, commit, _KINDS, device)
        tokenizer = CLIPTokenizer.from_pretrained(source, revision=commit)
        side, mean, std = read_preparation(source, commit)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointUnsupported(f"PLUMAGE_PART_FINDER={source}: cannot be loaded: {error}") from error
    return PartFinder(model, tokenizer, mean, std, side)
