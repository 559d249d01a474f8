"""Where the weights of each configured model come from: a folder, or a hub id at a commit that the operator trusts.

The files are on this machine, and verified against their manifest, before any of them is loaded.
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

MODELS = ("model", "vae", "lora", "segmenter", "text_segmenter", "correspondence", "part_finder", "salient")
"""Settings that name a model; each has a `<name>_revision`."""
COMMIT = re.compile(r"[0-9a-f]{40}")
_PATTERNS = ("*.json", "*.txt", "*.model", "model*.safetensors", "diffusion_pytorch_model*.safetensors")
"""Files of a model that is one network; some repositories contain the same weights in other formats too."""
log = structlog.get_logger()


@dataclass(frozen=True)
class Source:
    """One configured model."""

    setting: str
    """Environment variable that names it."""
    name: str
    """Folder, or hub id."""
    commit: str | None
    """Of the hub id; None for a folder."""
    manifest: Path | None
    """Where its manifest belongs; None where there is no place for one."""
    strict: bool
    """Whether it must have one."""


def source_of(settings: ModelSettings, model: str) -> Source | None:
    """The model that the setting `model` names; None when it names none.

    Raises CheckpointNotFound and RevisionNotPinned, as `pinned` does.
    """
    name, setting = getattr(settings, model), f"PLUMAGE_{model.upper()}"
    if name is None:
        return None
    commit = pinned(name, getattr(settings, f"{model}_revision"), f"{setting}_REVISION")
    manifest = manifest_path(name, commit, settings.manifests)
    return Source(setting, name, commit, manifest, strict=settings.manifests is not None)


def pinned(source: str, revision: str | None, setting: str) -> str | None:
    """The commit of a hub id; None for a folder. `setting` is the variable that contains the revision.

    Raises CheckpointNotFound for what is neither folder nor hub id, and RevisionNotPinned for a hub id without commit.
    """
    if is_folder(source):
        return None
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise CheckpointNotFound(f"{source} is neither a folder here nor a hub id (owner/name)")
    if revision is None or not COMMIT.fullmatch(revision):
        raise RevisionNotPinned(f"{source}: set {setting} to the full commit hash (40 hex digits) that you trust")
    return revision


def is_folder(source: str) -> bool:
    return Path(source).is_dir()


def files_here(source: Source) -> Path | None:
    """The folder, or the files of a hub id that have been downloaded; None when none have."""
    return local_folder(source.name, source.commit)


def local_folder(name: str, commit: str | None) -> Path | None:
    """As `files_here`, for a folder or a hub id at `commit`."""
    if commit is None:
        return Path(name)
    try:
        return Path(snapshot_download(name, revision=commit, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def download_network(source: Source, files: Sequence[str] = _PATTERNS) -> Path:
    """The folder, or the files of a hub id that match `files`, downloaded when needed. Raises CheckpointNotFound."""
    if source.commit is None:
        return Path(source.name)
    try:
        return Path(snapshot_download(source.name, revision=source.commit, allow_patterns=list(files)))
    except (OSError, ValueError) as error:
        raise CheckpointNotFound(f"{source.setting}={source.name}: cannot be downloaded: {error}") from error


def has_manifest(source: Source) -> bool:
    """Whether there is one, or has to be."""
    return source.strict or (source.manifest is not None and source.manifest.exists())


def verified(source: Source, folder: Path) -> dict[str, str] | None:
    """SHA-256 of the files in `folder`, which match the manifest; None for a model that has none and needs none.

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


def pin(source: Source) -> tuple[Path, int]:
    """Writes the manifest of the files that are here now: its path, and the number of files in it.

    Raises CheckpointNotFound when no file is here, or there is no place for the manifest.
    """
    folder = files_here(source)
    if folder is None:
        raise CheckpointNotFound(f"{source.setting}={source.name} has not been downloaded; a worker does")
    if source.manifest is None:
        raise CheckpointNotFound(f"{source.setting}={source.name}: set PLUMAGE_MANIFESTS to a folder for its manifest")
    return source.manifest, write_manifest(folder, source.manifest)
