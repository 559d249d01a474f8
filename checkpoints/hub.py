"""Where weights come from: a folder here, or a hub id at a commit that the operator trusts.

The files of each configured model, on this machine and as its manifest says, before anything of them is loaded.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from checkpoints.errors import CheckpointMismatch, CheckpointNotFound, RevisionNotPinned
from checkpoints.manifest import manifest_path, verify, write_manifest
from checkpoints.settings import ModelSettings

COMMIT = re.compile(r"[0-9a-f]{40}")


def is_folder(source: str) -> bool:
    return Path(source).is_dir()


def pinned(source: str, revision: str | None, setting: str) -> str | None:
    """The commit to take `source` at; None for a folder. `setting` is the variable that holds the revision.

    Raises CheckpointNotFound for what is neither folder nor hub id, and RevisionNotPinned for a hub id without commit.
    """
    if is_folder(source):
        return None
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise CheckpointNotFound(f"{source} is neither a folder here nor a hub id (owner/name)")
    if revision is None or not COMMIT.fullmatch(revision):
        raise RevisionNotPinned(f"{source}: set {setting} to the full commit hash (40 hex digits) that you trust")
    return revision


MODELS = ("model", "vae", "lora", "segmenter", "text_segmenter", "correspondence", "part_finder")
"""Settings that name a model; each has a `<name>_revision`."""
_PATTERNS = ("*.json", "*.txt", "*.model", "model*.safetensors", "diffusion_pytorch_model*.safetensors")
"""Of a model that is one network; some repositories hold the same weights in other layouts too."""
log = structlog.get_logger()


@dataclass(frozen=True)
class Source:
    """One configured model."""

    setting: str
    """Environment variable that names it."""
    name: str
    """Folder, or hub id."""
    commit: str | None
    """Of the hub id."""
    manifest: Path | None
    """Where its manifest belongs."""
    strict: bool
    """Whether it must have one."""


def source_of(settings: ModelSettings, model: str) -> Source | None:
    """The model that the setting `model` names, if it does. Raises the errors of `checkpoints.hub.pinned`."""
    name, setting = getattr(settings, model), f"PLUMAGE_{model.upper()}"
    if name is None:
        return None
    commit = pinned(name, getattr(settings, f"{model}_revision"), f"{setting}_REVISION")
    return Source(
        setting, name, commit, manifest_path(name, commit, settings.manifests), settings.manifests is not None
    )


def files_here(source: Source) -> Path | None:
    """The folder, or what has been downloaded of a hub id; None when nothing has."""
    if source.commit is None:
        return Path(source.name)
    try:
        return Path(snapshot_download(source.name, revision=source.commit, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def download_network(source: Source, files: Sequence[str] = _PATTERNS) -> Path:
    """The folder, or a hub id's files that are so called, once they are here. Raises CheckpointNotFound."""
    if source.commit is None:
        return Path(source.name)
    try:
        return Path(snapshot_download(source.name, revision=source.commit, allow_patterns=list(files)))
    except (OSError, ValueError) as error:
        raise CheckpointNotFound(f"{source.setting}={source.name}: cannot be downloaded: {error}") from error


def verified(source: Source, folder: Path) -> dict[str, str] | None:
    """Fingerprints of files that are as the manifest says; None where there is none and none is asked for.

    Raises CheckpointMismatch.
    """
    if not has_manifest(source):
        log.warning("model.without_manifest", setting=source.setting, source=source.name)
        return None
    assert source.manifest is not None
    try:
        return verify(folder, source.manifest)
    except CheckpointMismatch as error:
        raise CheckpointMismatch(f"{source.setting}: {error}") from error


def has_manifest(source: Source) -> bool:
    """Whether there is one, or has to be."""
    return source.strict or (source.manifest is not None and source.manifest.exists())


def pin(source: Source) -> tuple[Path, int]:
    """Writes the manifest of what is here now: its path, and how many files it names.

    Raises CheckpointNotFound when nothing is here, or the manifest would have no place.
    """
    folder = files_here(source)
    if folder is None:
        raise CheckpointNotFound(f"{source.setting}={source.name} has not been downloaded; a worker does")
    if source.manifest is None:
        raise CheckpointNotFound(f"{source.setting}={source.name}: set PLUMAGE_MANIFESTS to a folder for its manifest")
    return source.manifest, write_manifest(folder, source.manifest)
