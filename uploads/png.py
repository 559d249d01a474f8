"""Writes PNG, fast. Pillow writes it too, and takes eight times as long: it tries five filters for each row, and zlib
deflates what comes of them. Here every row is the difference to the row above, and ISA-L deflates it; files are a tenth
larger than Pillow's (see docs/adr/0021).
"""

import struct
import zlib

from isal import isal_zlib
from PIL import Image, ImageChops

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {"L": 0, "RGB": 2, "RGBA": 6}
PROFILE_HEADER = b"profile\0\0"
"""What precedes the deflated profile in its chunk: its name, and the one method that there is."""
_STRIP_BYTES = 2**20
_UP = b"\x02"
"""Filter type of a row that holds its difference to the row above, modulo 256."""


def write_png(pixels: Image.Image, profile: bytes | None = None) -> bytes:
    """A PNG, 8 bit, of an L, RGB or RGBA picture: header, pixels and end, and nothing else that the picture carries;
    only a colour profile that is handed over lies before the pixels."""
    header = struct.pack(">IIBBBBB", pixels.width, pixels.height, 8, COLOUR_TYPES[pixels.mode], 0, 0, 0)
    before = [_chunk(b"IHDR", header)]
    if profile is not None:
        before.append(_chunk(b"iCCP", PROFILE_HEADER + zlib.compress(profile, 9)))
    return b"".join([SIGNATURE, *before, *_pixel_chunks(pixels), _chunk(b"IEND", b"")])


def _pixel_chunks(pixels: Image.Image) -> list[bytes]:
    """Strip by strip, so that a large picture is never there twice."""
    row_bytes = pixels.width * len(pixels.getbands())
    rows = max(1, _STRIP_BYTES // row_bytes)
    deflating = isal_zlib.compressobj(1)
    chunks = []
    for top in range(0, pixels.height, rows):
        bottom = min(top + rows, pixels.height)
        strip = pixels.crop((0, top, pixels.width, bottom))
        above = pixels.crop((0, top - 1, pixels.width, bottom - 1))  # zeros above the first row
        differences = ImageChops.subtract_modulo(strip, above).tobytes()
        filtered = [_UP + differences[at : at + row_bytes] for at in range(0, len(differences), row_bytes)]
        chunks.append(deflating.compress(b"".join(filtered)))
    chunks.append(deflating.flush())
    return [_chunk(b"IDAT", data) for data in chunks if data]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
