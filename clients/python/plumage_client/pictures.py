"""Pictures to send, however they come."""

import os
from pathlib import Path
from typing import BinaryIO

Picture = str | os.PathLike[str] | bytes | BinaryIO
"""A path, the bytes of a file, or an open file. JPEG, PNG or WebP."""


def read_picture(picture: Picture) -> tuple[str, bytes]:
    """File name and contents. All of it is read, so that it can be sent again. Raises OSError."""
    if isinstance(picture, bytes):
        return "picture", picture
    if isinstance(picture, str | os.PathLike):
        path = Path(picture)
        return path.name, path.read_bytes()
    return "picture", picture.read()


def write_picture(path: str | os.PathLike[str], picture: bytes) -> None:
    """Raises OSError."""
    Path(path).write_bytes(picture)
