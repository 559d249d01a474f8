"""Manifests: the SHA-256 of every file of a model, written once and compared before anything is loaded.

A manifest covers every file that a loader could read, so an added file is found as well as a changed one.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from checkpoints.errors import CheckpointMismatch

NAME = "manifest.json"
READ = frozenset({".json", ".model", ".safetensors", ".txt"})
"""Suffixes of configurations, tokenizers and weights; nothing else of a checkpoint is read."""
NAMED_AT_MOST = 3


class Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    files: dict[str, str]
    """SHA-256 in hex by the path within the folder, with slashes."""


def fingerprints(folder: Path) -> dict[str, str]:
    """The entries that a manifest of this folder would have now."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in READ and path != folder / NAME:
            with path.open("rb") as file:
                found[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def digest_of(files: Mapping[str, str]) -> str:
    """One SHA-256, in hex, over names and contents of all `fingerprints`."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def folder_digest(folder: Path) -> str:
    return digest_of(fingerprints(folder))


def manifest_path(source: str, commit: str | None, manifests: Path | None) -> Path | None:
    """Where the manifest of a model belongs: in `manifests`, else in the model's own folder; None for a hub id then.

    Named after the folder, or `owner--name@commit`.
    """
    if manifests is None:
        return Path(source) / NAME if commit is None else None
    name = Path(source).resolve().name if commit is None else f"{source.replace('/', '--')}@{commit}"
    return manifests / f"{name}.json"


def write_manifest(folder: Path, path: Path) -> int:
    """Writes the manifest of the files as they are now; returns their number. Raises OSError."""
    files = fingerprints(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(Manifest(files=files).model_dump_json(indent=1) + "\n")
    return len(files)


def verify(folder: Path, path: Path) -> dict[str, str]:
    """The folder's `fingerprints`, which equal those of the manifest at `path`.

    Raises CheckpointMismatch, which names the first files that differ, or a manifest that cannot be read.
    """
    try:
        expected = Manifest.model_validate_json(path.read_bytes()).files
    except FileNotFoundError as error:
        raise CheckpointMismatch(f"{folder}: there is no manifest {path}") from error
    except (OSError, ValidationError) as error:
        raise CheckpointMismatch(f"{path} is no manifest that can be read") from error
    found = fingerprints(folder)
    wrong = [f"{name} is missing" for name in expected.keys() - found.keys()]
    wrong += [f"{name} is not in the manifest" for name in found.keys() - expected.keys()]
    wrong += [f"{name} has other bytes" for name in expected.keys() & found.keys() if expected[name] != found[name]]
    if wrong:
        more = f" and {len(wrong) - NAMED_AT_MOST} more" if len(wrong) > NAMED_AT_MOST else ""
        raise CheckpointMismatch(f"{folder} does not match {path}: {', '.join(sorted(wrong)[:NAMED_AT_MOST])}{more}")
    return found
