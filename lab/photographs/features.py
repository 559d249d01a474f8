"""Descriptors of photographs by a vision transformer that the user names (DINOv2, or another of transformers' ViTs).

The pictures are prepared here, with torch alone, by the values of the model's own `preprocessor_config.json`.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from jaxtyping import Float
from torch import Tensor
from transformers import AutoModel

from checkpoints.hub import COMMIT
from checkpoints.manifest import folder_digest
from checkpoints.optional import picture_side
from core.images.canvas import working_size
from core.images.geometry import resize

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KEYS = re.compile(r"\.(k_proj|key)$")
"""Names of the projections whose outputs are compared, in the several ViTs of transformers."""
PREPARATION = "preprocessor_config.json"


class FeatureModelError(Exception):
    """The feature model cannot be loaded or is none; the message gives the reason."""


@dataclass(frozen=True)
class Descriptors:
    """What the model sees in one picture."""

    summary: Float[Tensor, " channels"]
    """Of the whole picture, the class token."""
    tokens: Float[Tensor, "tokens channels"]
    """Of every patch, from the last layer."""
    keys: Float[Tensor, "tokens key_channels"]
    """Of every patch, from the last layer's attention: what Splice compares (Tumanyan et al., arXiv 2201.00424)."""
    grid: tuple[int, int]


class FeatureModel:
    """A frozen ViT with its preparation of pictures. Calling it describes one."""

    def __init__(self, model: Any, preparation: dict[str, Any], *, id: str, revision: str) -> None:
        self.id, self.revision = id, revision
        self._model = model.requires_grad_(False).eval()
        self._mean = torch.tensor(preparation.get("image_mean", IMAGENET_MEAN))[:, None, None]
        self._std = torch.tensor(preparation.get("image_std", IMAGENET_STD))[:, None, None]
        self._patch = int(model.config.patch_size)
        self.side_px = picture_side(preparation) or int(model.config.image_size)
        layers = [module for name, module in model.named_modules() if KEYS.search(name)]
        if not layers:
            raise FeatureModelError(f"{id} has no attention keys, so it is no vision transformer that is known here")
        self._last_keys = layers[-1]

    @property
    def described(self) -> dict[str, str | int]:
        """By what a report tells which model it was."""
        return {"id": self.id, "revision": self.revision, "side": self.side_px}

    @torch.no_grad()
    def __call__(self, picture: Float[Tensor, "3 height width"]) -> Descriptors:
        """Describes an RGB picture, 0 to 1, at the model's working area, undistorted to a patch."""
        size = working_size(picture.shape[1], picture.shape[2], resolution=self.side_px, multiple=self._patch)
        prepared = ((resize(picture, size) - self._mean) / self._std)[None].to(self._model.device, self._model.dtype)
        seen: list[Tensor] = []
        hook = self._last_keys.register_forward_hook(lambda _, given, output: seen.append(output))
        try:
            tokens: Tensor = self._model(prepared).last_hidden_state[0].float().cpu()
        finally:
            hook.remove()
        grid = (size[0] // self._patch, size[1] // self._patch)
        patches = grid[0] * grid[1]  # the class token and registers, where there are any, come first
        return Descriptors(tokens[0], tokens[-patches:], seen[-1][0, -patches:].float().cpu(), grid)


def load_feature_model(name: str, device: torch.device) -> FeatureModel:
    """A folder, or a hub id with its commit, `facebook/dinov2-base@COMMIT`; safetensors only. Raises
    FeatureModelError."""
    folder, at, commit = Path(name), "", ""
    if not folder.is_dir():
        name, at, commit = name.partition("@")
        if not at or not COMMIT.fullmatch(commit):
            raise FeatureModelError(f"{name} is no folder; a model of the hub is named with its commit, ID@COMMIT")
    try:
        model = AutoModel.from_pretrained(name, revision=commit or None, use_safetensors=True)
        path = hf_hub_download(name, PREPARATION, revision=commit) if commit else folder / PREPARATION
        preparation = json.loads(Path(path).read_text()) if Path(path).exists() else {}
    except (OSError, ValueError) as error:
        raise FeatureModelError(f"{name} cannot be loaded: {error}") from error
    if not hasattr(model.config, "patch_size"):
        raise FeatureModelError(f"{name} is a {model.config.model_type}, which has no patches")
    known = folder.resolve().name if not commit else name
    return FeatureModel(model.to(device), preparation, id=known, revision=commit or folder_digest(folder))
