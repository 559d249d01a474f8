"""Files inside Qt's binary resource collections (`.rcc`), in which GCompris keeps its pictures."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

MAGIC = b"qres"
COMPRESSED, DIRECTORY, ZSTD = 1, 2, 4


def read_resources(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name, with folders, and content of every file but those compressed by Zstandard. Raises ValueError for a file of
    another kind."""
    content = path.read_bytes()
    if content[:4] != MAGIC:
        raise ValueError(f"{path} is no Qt resource collection")
    version, tree, data, names = struct.unpack(">4I", content[4:20])
    entry = 14 if version < 2 else 22  # from the second version on with the time of change
    pending = [(0, "")]
    while pending:
        number, folder = pending.pop()
        start = tree + number * entry
        name_at, flags = struct.unpack(">IH", content[start : start + 6])
        name = f"{folder}/{_name(content, names + name_at)}" if number else ""
        if flags & DIRECTORY:
            count, first = struct.unpack(">2I", content[start + 6 : start + 14])
            pending += [(first + child, name) for child in reversed(range(count))]
        elif not flags & ZSTD:
            (data_at,) = struct.unpack(">I", content[start + 10 : start + 14])
            yield name.removeprefix("/"), _data(content, data + data_at, bool(flags & COMPRESSED))


def _name(content: bytes, start: int) -> str:
    (length,) = struct.unpack(">H", content[start : start + 2])
    return content[start + 6 : start + 6 + 2 * length].decode("utf-16-be")  # after its length and its hash


def _data(content: bytes, start: int, compressed: bool) -> bytes:
    (length,) = struct.unpack(">I", content[start : start + 4])
    raw = content[start + 4 : start + 4 + length]
    return zlib.decompress(raw[4:]) if compressed else raw  # after the length of what is inflated
