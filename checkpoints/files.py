"""The files of a checkpoint, checked without loading it."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from checkpoints.errors import CheckpointUnsupported
from checkpoints.hub import is_folder, local_folder, pinned
from core.models.models import BACKBONES, Backbone

GIB = 1 << 30


def check_files(source: str, revision: str | None, setting: str) -> str:
    """One line on the files of the checkpoint that `setting` names, whose revision is in `<setting>_REVISION`.

    Reads the header of every weight file. Raises the errors of `checkpoints.errors`.
    """
    commit = pinned(source, revision, f"{setting}_REVISION")
    folder = local_folder(source, commit)
    if folder is None:
        return "will be downloaded when a worker starts"
    if setting == "PLUMAGE_MODEL":
        require_parts(str(folder))
    weights = sorted(folder.rglob("*.safetensors"))
    if not weights:
        raise CheckpointUnsupported(f"{setting}={source}: no weights in safetensors")
    for path in weights:
        try:
            with safe_open(path, framework="numpy"):
                pass
        except (SafetensorError, OSError) as error:
            raise CheckpointUnsupported(f"{setting}: {path} is damaged: {error}") from error
    size = sum(path.stat().st_size for path in weights)
    return f"{len(weights)} weight files, {size / GIB:.2f} GiB"


def require_parts(source: str) -> None:
    """Checks that a folder has every part of its kind of checkpoint; files of the hub are checked when they are loaded.

    Raises CheckpointUnsupported.
    """
    if not is_folder(source):
        return
    index = Path(source) / "model_index.json"
    if not index.is_file():
        raise CheckpointUnsupported(
            f"PLUMAGE_MODEL={source}: no model_index.json; a folder in diffusers layout is needed"
        )
    parts = json.loads(index.read_text())
    backbone = find_backbone(str(parts.get("_class_name")))
    missing = [part for part in backbone.parts if not (parts.get(part) or [None])[0]]
    if missing:
        raise CheckpointUnsupported(f"PLUMAGE_MODEL={source}: a {backbone.pipeline} without {', '.join(missing)}")


def find_backbone(pipeline: str) -> Backbone:
    """The family of checkpoints whose model_index.json names this pipeline. Raises CheckpointUnsupported."""
    for backbone in BACKBONES:
        if backbone.pipeline == pipeline:
            return backbone
    known = ", ".join(backbone.pipeline for backbone in BACKBONES)
    raise CheckpointUnsupported(f"PLUMAGE_MODEL: a {pipeline} checkpoint; one of {known} is needed")
