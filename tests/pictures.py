"""Pictures for the tests, made here and nowhere downloaded."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

from PIL import Image

SIZE = (48, 32)
HEIC = Path(__file__).parent / "heic"
"""Files that `tests/write_heic.py` has made."""


def gradient(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    """Four flat quadrants: survives JPEG, and every rotation or flip of it differs."""
    image = Image.new("RGB", size, (250, 250, 250))
    half = (size[0] // 2, size[1] // 2)
    image.paste((220, 30, 30), (0, 0, *half))
    image.paste((30, 200, 30), (half[0], 0, size[0], half[1]))
    image.paste((30, 30, 220), (0, half[1], half[0], size[1]))
    return image.convert(mode)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def heic(name: str) -> bytes:
    return (HEIC / f"{name}.heic").read_bytes()


def lying(orientation: int) -> Image.Image:
    """The gradient as it lies in a file with this EXIF orientation: 1, 2, 3, 6 or 8."""
    turns = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 6: "ROTATE_90", 8: "ROTATE_270"}
    return gradient().transpose(Image.Transpose[turns[orientation]]) if orientation in turns else gradient()


def oriented(orientation: int) -> bytes:
    """EXIF that says so."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def decoded(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png), formats=("PNG",))
    image.load()
    return image


def pixel(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    value = image.getpixel((x, y))
    assert isinstance(value, tuple)
    return tuple(int(channel) for channel in value)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def raw_png(size: tuple[int, int], depth: int, color_type: int, rows: bytes, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", *size, depth, color_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def icc_profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A minimal ICC v2 display profile with the given tags."""
    offset, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, value in tags.items():
        padded = value + b"\0" * (-len(value) % 4)
        table += name + struct.pack(">II", offset + len(body), len(value))
        body += padded
    head = struct.pack(">I4sI4s4s4s", offset + len(body), b"lcms", 0x02400000, b"mntr", space, b"XYZ ")
    head = (head + b"\0" * 12 + b"acsp").ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def xyz(x: float, y: float, z: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in (x, y, z)))


LINEAR_CURVE = b"curv\0\0\0\0" + struct.pack(">I", 0)
D50 = xyz(0.9642, 1.0, 0.8249)
LINEAR_GRAY = icc_profile(b"GRAY", {b"wtpt": D50, b"kTRC": LINEAR_CURVE})
# The primaries of sRGB with red and green exchanged.
SWAPPED_RGB = icc_profile(
    b"RGB ",
    {
        b"wtpt": D50,
        b"rXYZ": xyz(0.3851, 0.7169, 0.0971),
        b"gXYZ": xyz(0.4360, 0.2225, 0.0139),
        b"bXYZ": xyz(0.1431, 0.0606, 0.7139),
        b"rTRC": LINEAR_CURVE,
        b"gTRC": LINEAR_CURVE,
        b"bTRC": LINEAR_CURVE,
    },
)
# Red, green and blue of Display P3 relative to D50, and the curve of sRGB.
SRGB_CURVE = b"para\0\0\0\0\0\3\0\0" + struct.pack(
    ">5i", *(round(v * 65536) for v in (2.4, 0.94787, 0.05213, 0.0774, 0.04045))
)
DISPLAY_P3 = icc_profile(
    b"RGB ",
    {
        b"desc": b"desc\0\0\0\0\0\0\0\x09SMUGGLED\0",
        b"wtpt": D50,
        b"rXYZ": xyz(0.5151, 0.2412, -0.0011),
        b"gXYZ": xyz(0.2920, 0.6923, 0.0419),
        b"bXYZ": xyz(0.1571, 0.0666, 0.7841),
        b"rTRC": SRGB_CURVE,
        b"gTRC": SRGB_CURVE,
        b"bTRC": SRGB_CURVE,
    },
)
