"""Results are written whole or not at all."""

import os
import tempfile
from pathlib import Path

from cli.errors import BadInput, Failed


def check_writable(path: Path, suffix: str = ".png") -> None:
    """Makes the folder of `path`. Raises BadInput when a file that ends in `suffix` cannot be put there."""
    if path.suffix.lower() != suffix:
        raise BadInput(f"{path}: the name of the result must end in {suffix}", "bad_output")
    if path.is_dir():
        raise BadInput(f"{path} is a folder", "bad_output")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot make the folder {path.parent}: {error.strerror}", "bad_output") from error
    if not os.access(path.parent, os.W_OK):
        raise BadInput(f"cannot write in {path.parent}", "bad_output")


def replace_file(path: Path, content: bytes) -> None:
    """Puts `content` at `path` in one step, over what was there. Raises Failed when the disk does not take it."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            file.write(content)
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    except OSError as error:
        raise Failed(f"cannot write {path}: {error.strerror}", "cannot_write") from error
