"""Which files are pictures that are accepted, by their first bytes, and what reading each kind costs.

JPEG, PNG, WebP and AVIF are Pillow's own. HEIC needs pillow-heif, which is the extra `heic`; without it a HEIC file
is of an unsupported type.
"""

from contextlib import suppress
from functools import cache
from importlib.util import find_spec

from PIL import AvifImagePlugin

from uploads.errors import InvalidImage
from uploads.png import SIGNATURE

_BRANDS = {b"avif": "AVIF", b"heic": "HEIF", b"heix": "HEIF"}
"""Of files in ISO's base media format (ISO/IEC 14496-12): a still picture, coded as AV1 or HEVC."""
_SEQUENCES = frozenset({b"avis", b"hevc", b"hevx", b"msf1"})
_COLLECTION = b"mif1"
"""A major brand that leaves the coding to the compatible brands, as many Android phones write it."""
_LONGEST_FTYP = 512
_SOI, _SOS = 0xD8, 0xDA
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""Markers SOF0 to SOF15 of JPEG (ITU-T T.81, table B.1)."""
_BUFFERED_FRAMES = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
"""Those of them that are progressive."""

HAS_HEIF = find_spec("pillow_heif") is not None
"""Whether HEIC can be read here."""

AvifImagePlugin.DEFAULT_MAX_THREADS = 1


def kind_of(data: bytes) -> str:
    """Pillow's name of the file's format. Raises InvalidImage, code `image_type_unsupported` or, for a film in a
    picture's clothes, `image_animated`."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(SIGNATURE):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    kind = _kind_of_media(data)
    if kind is None:
        raise InvalidImage("image_type_unsupported", "only JPEG, PNG, WebP, AVIF and HEIC pictures are accepted")
    if kind == "HEIF":
        _register_heif()
    return kind


def is_heif(data: bytes) -> bool:
    """Whether libheif is what reads the file."""
    with suppress(InvalidImage):
        return _kind_of_media(data) == "HEIF"
    return False


def _kind_of_media(data: bytes) -> str | None:
    length = int.from_bytes(data[:4])
    if data[4:8] != b"ftyp" or not 16 <= length <= min(_LONGEST_FTYP, len(data)):
        return None
    major = data[8:12]
    if major in _SEQUENCES:
        raise InvalidImage("image_animated", "sequences of pictures are not accepted")
    if major == _COLLECTION:
        compatible = (data[at : at + 4] for at in range(16, length - 3, 4))
        return next((_BRANDS[brand] for brand in compatible if brand in _BRANDS), None)
    return _BRANDS.get(major)


@cache
def _register_heif() -> None:
    """Only the picture itself is read: no thumbnail in its place, no depth map, and no thread beside this one."""
    if not HAS_HEIF:
        raise InvalidImage("image_type_unsupported", "HEIC pictures are not accepted here; send JPEG")
    from pillow_heif import register_heif_opener

    register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=0)


def is_buffered_jpeg(data: bytes) -> bool:
    """Whether a JPEG has to be there whole, as coefficients, before its first row is: it is progressive, or its first
    scan lacks a component. libjpeg decides by the same two questions. True also for what cannot be read."""
    at, components = 2, 0
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if marker in _BUFFERED_FRAMES:
            return True
        if marker in _FRAMES and at + 9 < len(data):
            components = data[at + 9]
        if marker == _SOS and at + 4 < len(data):
            return data[at + 4] != components
        at += 1 if marker == 0xFF else 2 + length
    return True
