"""What is written is what is read, by a decoder of others."""

import io
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.pictures import decoded, encoded, gradient
from uploads import png
from uploads.png import SIGNATURE, write_png

BANDS = {"L": 1, "RGB": 3, "RGBA": 4}


def noise(mode: str, size: tuple[int, int], seed: bytes = b"x") -> Image.Image:
    count = size[0] * size[1] * BANDS[mode]
    return Image.frombytes(mode, size, (seed * count)[:count])


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Kinds and contents, checksums compared."""
    found, at = [], len(SIGNATURE)
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + content) == struct.unpack_from(">I", data, at + 8 + length)[0]
        found.append((kind, content))
        at += 12 + length
    return found


@settings(deadline=None)
@given(
    mode=st.sampled_from(sorted(BANDS)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.binary(min_size=1, max_size=200),
    strip_bytes=st.sampled_from([1, 100, 2**20]),
)
def test_every_pixel_comes_back(mode: str, size: tuple[int, int], seed: bytes, strip_bytes: int) -> None:
    pixels = noise(mode, size, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(png, "_STRIP_BYTES", strip_bytes)
        written = write_png(pixels)
    read = decoded(written)
    assert (read.mode, read.size, read.tobytes()) == (mode, size, pixels.tobytes())


def test_only_pixels_are_written() -> None:
    tagged = Image.open(io.BytesIO(encoded(gradient(), dpi=(72, 72), exif=Image.Exif())))
    tagged.info |= {"comment": "x", "transparency": (1, 2, 3), "gamma": 0.5}
    (header, _), *middle, (end, empty) = chunks(write_png(tagged))
    assert (header, end, empty) == (b"IHDR", b"IEND", b"")
    assert {kind for kind, _ in middle} == {b"IDAT"}


def test_a_picture_of_many_strips_is_one_stream() -> None:
    pixels = noise("RGB", (700, 900), bytes(range(251)))
    written = write_png(pixels)
    body = b"".join(content for kind, content in chunks(written) if kind == b"IDAT")
    assert len(zlib.decompress(body)) == 900 * (1 + 3 * 700)
    assert decoded(written).tobytes() == pixels.tobytes()


def test_what_can_be_foretold_is_not_stored() -> None:
    flat = Image.new("RGB", (2000, 1000), "red")
    assert len(write_png(flat)) < 2000 * 1000 * 3 / 100
