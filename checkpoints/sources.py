"""Where weights come from: a folder here, or a hub id at a commit that the operator trusts."""

import re
from pathlib import Path

from checkpoints.errors import CheckpointNotFound, RevisionNotPinned

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
