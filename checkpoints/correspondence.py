"""The optional correspondence model, from a folder or a hub id at a pinned revision, as the main checkpoint is."""

import math

import torch
from transformers import AutoModel

from checkpoints.errors import CheckpointUnsupported
from checkpoints.networks import load_network, read_preparation
from checkpoints.sources import pinned
from core.vision import VisionModel

_KINDS = dict.fromkeys(("dinov2", "dinov2_with_registers", "dinov3_vit"), AutoModel)
"""By the configuration's `model_type`: class token, registers if any, then patches in reading order."""


def load_correspondence(source: str, revision: str | None, device: torch.device) -> VisionModel:
    """DINOv2 (with registers or without) or DINOv3, in float32.

    Pictures are read at the side of `crop_size`, else `size`, of `preprocessor_config.json`, and with 16 patches a side
    at least. Beside the UNet its cosines weigh what `fusion_weight` in `config.json` says, 1 where nothing does. Raises
    the errors of `checkpoints.errors`, naming PLUMAGE_CORRESPONDENCE.
    """
    commit = pinned(source, revision, "PLUMAGE_CORRESPONDENCE_REVISION")
    try:
        network = load_network(source, commit, _KINDS, device)
        side, mean, std = read_preparation(source, commit)
        weight = float(getattr(network.config, "fusion_weight", 1.0))
        if not 0.0 < weight < math.inf:
            raise ValueError(f"fusion_weight in config.json is {weight}, not a finite number over 0")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointUnsupported(f"PLUMAGE_CORRESPONDENCE={source}: cannot be loaded: {error}") from error
    return VisionModel(network, mean, std, max(side, 16 * int(network.config.patch_size)), weight)
