"""Pictures made to break a decoder, to cost too much, or to smuggle something in; and odd ones that are honest.

`PICTURES` maps names to makers. All are made here: `python -m tests.bad_pictures FOLDER` writes them down. Whatever
travels as metadata holds MARK.
"""

import struct
import sys
import zlib
from collections.abc import Callable
from functools import partial
from math import isqrt
from pathlib import Path

from PIL import Image, PngImagePlugin

from tests.pictures import LINEAR_GRAY, SWAPPED_RGB, chunk, encoded, gradient, heic, raw_png
from uploads.images import PictureLimits

MARK = b"SMUGGLED"
PNG_END = chunk(b"IEND", b"")
KINDS = ("PNG", "JPEG", "WEBP")
ALLOCATION = 48 * 2**20
LARGEST_SIDE = isqrt(PictureLimits().max_pixels)


def bilevel(side: int) -> bytes:
    """A PNG of side x side black pixels in some kilobytes."""
    rows = zlib.compressobj(9)
    row = b"\0" * (1 + (side + 7) // 8)
    body = b"".join(rows.compress(row) for _ in range(side)) + rows.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + PNG_END


def colour_bomb(side: int) -> bytes:
    return raw_png((side, side), 8, 2, (b"\0" * (1 + 3 * side)) * side)


def with_chunks(*chunks: bytes) -> bytes:
    """A sound PNG with these behind its header."""
    sound = encoded(gradient())
    return sound[:33] + b"".join(chunks) + sound[33:]


def deflated(prefix: bytes) -> bytes:
    return prefix + zlib.compress(MARK + b"\0" * ALLOCATION, 9)


def too_much_image_data() -> bytes:
    """16 x 16 pixels by the header, 48 MiB by the compressed stream."""
    return raw_png((16, 16), 8, 2, b"\0" * ALLOCATION)


def jpeg_of_size(width: int, height: int) -> bytes:
    """A JPEG whose header lies about its size."""
    return resized(encoded(gradient(), "JPEG"), width, height)


def resized(jpeg: bytes, width: int, height: int) -> bytes:
    """The JPEG with another size in its header."""
    data = bytearray(jpeg)
    at = next(data.index(mark) for mark in (b"\xff\xc0", b"\xff\xc2") if mark in data) + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def many_scans(times: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again: little to send, much to decode."""
    data = encoded(gradient(size=(512, 512)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * times + data[-2:]


def webp_of_size(width: int, height: int) -> bytes:
    """A lossless WebP of one colour, whose codes are all of length 0: any size in 40 bytes."""
    bits = (width - 1) | (height - 1) << 14
    body = b"\x2f" + struct.pack("<I", bits) + b"\x88\x88\x08" * 5
    return b"RIFF" + struct.pack("<I", 12 + len(body)) + b"WEBPVP8L" + struct.pack("<I", len(body)) + body


def half(kind: str) -> bytes:
    data = encoded(Image.effect_noise((256, 256), 80).convert("RGB"), kind)
    return data[: len(data) // 2]


def animated(kind: str) -> bytes:
    frames = [gradient().rotate(90 * turn) for turn in range(4)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


def oriented(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = MARK.decode()
    exif[0xA431] = MARK.decode()  # the camera's serial number
    exif.get_ifd(0x8825)[1] = "N"
    return encoded(gradient(), kind, exif=exif)


def tagged() -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", MARK.decode(), zip=True)
    text.add_itxt("XML:com.adobe.xmp", f"<x>{MARK.decode()}</x>")
    return encoded(gradient(), pnginfo=text, dpi=(72, 72), icc_profile=SWAPPED_RGB)


def commented_jpeg() -> bytes:
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x>" + MARK + b"</x>"
    return encoded(gradient(), "JPEG", comment=b"<?php " + MARK, xmp=xmp, icc_profile=SWAPPED_RGB)


def deep(mode: int, *levels: int) -> bytes:
    row = b"\0" + struct.pack(f">{len(levels)}H", *levels) * 16
    return raw_png((16, 16), 16, mode, row * 16)


def ycck() -> bytes:
    """A CMYK JPEG with Adobe's marker, as print shops send it."""
    return encoded(gradient("CMYK"), "JPEG", quality=90)


def mpo() -> bytes:
    return encoded(gradient(), "MPO", save_all=True, append_images=[gradient()])


def of_type(kind: str) -> bytes:
    return encoded(gradient(), kind)


SOUND = encoded(gradient())
PICTURES: dict[str, Callable[[], bytes]] = {
    # bombs
    "bomb: 13000 x 13000 in 20 kB": partial(bilevel, 13_000),
    "bomb: 20000 x 20000 in 49 kB": partial(bilevel, 20_000),
    "bomb: 65500 x 65500 JPEG": partial(jpeg_of_size, 65_500, 65_500),
    "bomb: 16383 x 16383 WebP": partial(webp_of_size, 16_383, 16_383),
    "bomb: 6500 x 6500 in colour": partial(colour_bomb, 6_500),
    "bomb: the largest PNG that is allowed": partial(bilevel, LARGEST_SIDE),
    "bomb: the largest WebP that is allowed": partial(webp_of_size, LARGEST_SIDE, LARGEST_SIDE),
    "bomb: 4000 x 2500 JPEG without pixels": partial(jpeg_of_size, 4_000, 2_500),
    "bomb: 4000 x 2500 WebP in 40 bytes": partial(webp_of_size, 4_000, 2_500),
    "bomb: 11000 x 11000 JPEG without pixels": partial(jpeg_of_size, 11_000, 11_000),
    "bomb: 11000 x 11000 progressive JPEG": lambda: resized(many_scans(1), 11_000, 11_000),
    "bomb: 9000 x 9000 progressive JPEG": lambda: resized(many_scans(1), 9_000, 9_000),
    "bomb: 100 scans": partial(many_scans, 100),
    "bomb: more pixel data than pixels": too_much_image_data,
    "bomb: colour profile": lambda: with_chunks(chunk(b"iCCP", deflated(b"x\0\0"))),
    "bomb: compressed text": lambda: with_chunks(chunk(b"zTXt", deflated(b"x\0\0"))),
    "bomb: compressed international text": lambda: with_chunks(chunk(b"iTXt", deflated(b"x\0\1\0\0\0"))),
    "bomb: 64 texts": lambda: with_chunks(*[chunk(b"zTXt", b"x\0\0" + zlib.compress(b"\0" * 2**20))] * 80),
    "bomb: 20000 chunks": lambda: with_chunks(*[chunk(b"tEXt", b"a\0" + MARK)] * 20_000),
    # damage
    "damage: a chunk of 2 GB": lambda: SOUND[:33] + b"\x7f\xff\xff\xff" + b"IDAT" + SOUND[41:],
    "damage: no end": lambda: SOUND[:-12],
    "damage: wrong checksum": lambda: SOUND[:45] + bytes([SOUND[45] ^ 1]) + SOUND[46:],
    "damage: no pixels at all": lambda: raw_png((0, 0), 8, 2, b""),
    "damage: one side of 2^31": lambda: raw_png((2**31 - 1, 1), 8, 2, b""),
    "damage: no image data": lambda: SOUND[:33] + PNG_END,
    "damage: signature only": lambda: SOUND[:8],
    **{f"damage: half a {kind}": partial(half, kind) for kind in KINDS},
    # smuggling
    "polyglot: page behind a PNG": lambda: SOUND + b"<script>" + MARK + b"</script>",
    "polyglot: archive behind a JPEG": lambda: of_type("JPEG") + b"PK\x03\x04" + MARK,
    "polyglot: picture behind a picture": lambda: SOUND + of_type("JPEG") + MARK,
    "polyglot: program in a JPEG's comment": commented_jpeg,
    "polyglot: GIF that says it is a script": lambda: b"GIF89a/*" + MARK + b"*/=1;",
    "metadata: text, XMP, profile": tagged,
    **{f"metadata: {kind}, orientation {o}": partial(oriented, kind, o) for kind in KINDS for o in range(1, 9)},
    **{f"metadata: orientation {o}": partial(oriented, "JPEG", o) for o in (0, 9, 65_535)},
    "metadata: broken profile": lambda: encoded(gradient(), icc_profile=MARK * 20),
    "metadata: grey profile in a coloured picture": lambda: encoded(gradient(), icc_profile=LINEAR_GRAY),
    # honest and odd
    "animated: PNG": partial(animated, "PNG"),
    "animated: WebP": partial(animated, "WEBP"),
    "odd: photo with a second picture": mpo,
    "odd: 16 bit grey": partial(deep, 0, 50_000),
    "odd: 16 bit colour": partial(deep, 2, 1000, 20_000, 60_000),
    "odd: 16 bit colour and alpha": partial(deep, 6, 1000, 20_000, 60_000, 32_768),
    "odd: CMYK": lambda: encoded(gradient("CMYK"), "JPEG", icc_profile=SWAPPED_RGB),
    "odd: YCCK": ycck,
    "odd: palette": lambda: encoded(gradient("P")),
    "odd: palette with transparency": lambda: encoded(gradient("P"), transparency=b"\x00\x80\xff"),
    "odd: grey with alpha": lambda: encoded(gradient("LA")),
    "odd: AVIF": partial(of_type, "AVIF"),
    "odd: HEIC": partial(heic, "rgb"),
    "odd: one bit": lambda: encoded(gradient("1")),
    "odd: one transparent colour": lambda: encoded(gradient(), transparency=(250, 250, 250)),
    # not allowed at all
    **{f"type: {kind}": partial(of_type, kind) for kind in ("GIF", "BMP", "TIFF", "ICO", "PPM", "JPEG2000")},
    "type: SVG": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "type: EPS": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n",
    "type: PDF": lambda: b"%PDF-1.7\n",
    "type: nothing": lambda: b"",
    "type: text": lambda: b"hello",
}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, make in enumerate(PICTURES.values()):
        data = make()
        suffix = "png" if data[1:4] == b"PNG" else "webp" if data[:4] == b"RIFF" else "jpg"
        (folder / f"{number:03}.{suffix}").write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
