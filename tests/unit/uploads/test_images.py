"""Every picture here is made by the test itself; nothing is downloaded and nothing is mocked."""

import io
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from tests.pictures import LINEAR_GRAY, SIZE, SWAPPED_RGB, chunk, decoded, encoded, gradient, pixel, raw_png
from uploads.errors import InvalidImage
from uploads.images import PictureLimits, check_picture

LIMITS = PictureLimits()
FAITHFUL: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
}


def refusal(data: bytes, limits: PictureLimits = LIMITS) -> str:
    with pytest.raises(InvalidImage) as caught:
        check_picture(data, limits)
    assert str(caught.value)
    return caught.value.code


# --- what is accepted, and what becomes of it ---


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_each_accepted_type_keeps_its_picture(kind: str) -> None:
    checked = check_picture(encoded(gradient(), kind, **FAITHFUL[kind]), LIMITS)
    image = decoded(checked.png)
    assert (image.mode, image.size, checked.has_alpha) == ("RGB", SIZE, False)
    assert (checked.width, checked.height) == SIZE
    for x, y in ((4, 4), (40, 4), (4, 28), (40, 28)):
        pairs = zip(pixel(image, x, y), pixel(gradient(), x, y), strict=True)
        assert max(abs(a - b) for a, b in pairs) <= 3


@pytest.mark.parametrize(
    ("mode", "kind", "expected"),
    [
        ("1", "PNG", "RGB"),
        ("L", "PNG", "RGB"),
        ("LA", "PNG", "RGBA"),
        ("P", "PNG", "RGB"),
        ("RGBA", "PNG", "RGBA"),
        ("L", "JPEG", "RGB"),
        ("CMYK", "JPEG", "RGB"),
    ],
)
def test_every_mode_becomes_rgb_or_rgba(mode: str, kind: str, expected: str) -> None:
    checked = check_picture(encoded(gradient(mode), kind), LIMITS)
    image = decoded(checked.png)
    assert image.mode == expected
    assert checked.has_alpha == (expected == "RGBA")
    reference = gradient(mode).convert("RGB")
    for x, y in ((4, 4), (40, 28)):
        pairs = zip(pixel(image, x, y)[:3], pixel(reference, x, y), strict=True)
        assert max(abs(a - b) for a, b in pairs) <= 4


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_colour_under_full_transparency_survives(kind: str) -> None:
    source = gradient("RGBA")
    source.putalpha(Image.linear_gradient("L").resize(SIZE))
    image = decoded(check_picture(encoded(source, kind, **FAITHFUL[kind]), LIMITS).png)
    assert image.tobytes() == source.tobytes()


def test_palette_with_transparent_entries_gets_an_alpha_channel() -> None:
    source = gradient("P")
    background = source.getpixel((40, 28))
    checked = check_picture(encoded(source, transparency=background), LIMITS)
    image = decoded(checked.png)
    assert pixel(image, 40, 28)[3] == 0
    assert pixel(image, 4, 4)[3] == 255


@pytest.mark.parametrize("deep_channel", [1000, 40000])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(deep_channel: int) -> None:
    rows = (b"\0" + struct.pack(">H", deep_channel) * 16) * 16
    image = decoded(check_picture(raw_png((16, 16), 16, 0, rows), LIMITS).png)
    assert abs(pixel(image, 8, 8)[0] - deep_channel / 257) <= 1


def test_sixteen_bit_colour_and_its_transparent_colour() -> None:
    rows = (b"\0" + struct.pack(">3H", 1000, 20000, 60000) * 8 + struct.pack(">3H", 9000, 9000, 9000) * 8) * 16
    key = chunk(b"tRNS", struct.pack(">3H", 9000, 9000, 9000))
    image = decoded(check_picture(raw_png((16, 16), 16, 2, rows, key), LIMITS).png)
    assert pixel(image, 2, 2) == (1000 >> 8, 20000 >> 8, 60000 >> 8, 255)
    assert pixel(image, 12, 2)[3] == 0


def test_sixteen_bit_grey_with_a_transparent_level() -> None:
    rows = (b"\0" + struct.pack(">H", 1000) * 8 + struct.pack(">H", 50000) * 8) * 16
    image = decoded(check_picture(raw_png((16, 16), 16, 0, rows, chunk(b"tRNS", struct.pack(">H", 1000))), LIMITS).png)
    assert pixel(image, 2, 2)[3] == 0
    assert pixel(image, 12, 2) == (195, 195, 195, 255)


def test_one_bit_with_a_transparent_level() -> None:
    data = raw_png((16, 16), 1, 0, b"\0\xff\x00" * 16, chunk(b"tRNS", struct.pack(">H", 1)))
    image = decoded(check_picture(data, LIMITS).png)
    assert pixel(image, 0, 0)[3] == 0
    assert pixel(image, 15, 0) == (0, 0, 0, 255)


# How a camera stores an upright scene under each value of Orientation.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_every_orientation_gives_the_same_upright_picture(orientation: int, kind: str) -> None:
    turned = gradient() if orientation == 1 else gradient().transpose(STORED[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decoded(check_picture(encoded(turned, kind, exif=exif, **FAITHFUL[kind]), LIMITS).png)
    assert image.size == SIZE
    for x, y in ((4, 4), (40, 4), (4, 28), (40, 28)):
        pairs = zip(pixel(image, x, y), pixel(gradient(), x, y), strict=True)
        assert max(abs(a - b) for a, b in pairs) <= 4


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_damaged_exif_does_not_refuse_sound_pixels() -> None:
    data = encoded(gradient(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 40)
    assert check_picture(data, LIMITS).width == SIZE[0]


# --- colour ---


def test_a_grey_profile_is_converted_to_srgb() -> None:
    data = encoded(Image.new("L", SIZE, 128), icc_profile=LINEAR_GRAY)
    value = pixel(decoded(check_picture(data, LIMITS).png), 5, 5)
    assert all(abs(channel - 188) <= 1 for channel in value)  # sRGB transfer function of 128 / 255


def test_an_rgb_profile_is_converted_and_alpha_kept() -> None:
    source = Image.new("RGBA", SIZE, (255, 0, 0, 77))
    image = decoded(check_picture(encoded(source, icc_profile=SWAPPED_RGB), LIMITS).png)
    red, green, blue, alpha = pixel(image, 5, 5)
    assert green >= 250
    assert max(red, blue) <= 12
    assert alpha == 77


@pytest.mark.parametrize("profile", [b"not a profile", LINEAR_GRAY, SWAPPED_RGB[:200]])
def test_a_broken_or_foreign_profile_is_ignored(profile: bytes) -> None:
    image = decoded(check_picture(encoded(gradient(), icc_profile=profile), LIMITS).png)
    assert image.tobytes() == gradient().tobytes()


def test_the_profile_of_srgb_changes_nothing() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = decoded(check_picture(encoded(gradient(), icc_profile=srgb), LIMITS).png)
    assert pixel(image, 4, 4) == pixel(gradient(), 4, 4)


# --- nothing but pixels comes out ---


def test_no_metadata_and_no_tail_comes_out() -> None:
    exif = Image.Exif()
    exif[0x010F] = "SECRETMAKER"
    exif.get_ifd(0x8825)[1] = "N"
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "SECRETTEXT", zip=False)
    text.add_itxt("XML:com.adobe.xmp", "<x>SECRETXMP</x>")
    data = encoded(gradient(), exif=exif, pnginfo=text, dpi=(72, 72), icc_profile=SWAPPED_RGB)
    checked = check_picture(data + b"<script>SECRETTAIL</script>", LIMITS)
    kinds, position = [], 8
    while position < len(checked.png):
        (length,) = struct.unpack(">I", checked.png[position : position + 4])
        kinds.append(checked.png[position + 4 : position + 8])
        position += 12 + length
    assert set(kinds) == {b"IHDR", b"IDAT", b"IEND"}
    assert b"SECRET" not in checked.png


# --- what is refused ---


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "image_empty"),
        (b"hello", "image_type_unsupported"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image_type_unsupported"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "image_type_unsupported"),
        (encoded(gradient(), "GIF"), "image_type_unsupported"),
        (encoded(gradient(), "BMP"), "image_type_unsupported"),
        (encoded(gradient(), "TIFF"), "image_type_unsupported"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "image_unreadable"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 40, "image_unreadable"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image_unreadable"),
        (encoded(gradient(size=(15, 16))), "image_too_small"),
        (encoded(gradient(size=(330, 20))), "image_too_narrow"),
        (encoded(Image.new("1", (8200, 600))), "image_too_large_side"),
    ],
)
def test_refused_with_its_code(data: bytes, code: str) -> None:
    assert refusal(data) == code


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_file_cut_in_half_is_unreadable(kind: str) -> None:
    data = encoded(Image.effect_noise((256, 256), 80).convert("RGB"), kind)
    assert refusal(data[: len(data) // 2]) == "image_unreadable"


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animations_are_refused(kind: str) -> None:
    frames = [gradient(), gradient().transpose(Image.Transpose.ROTATE_180)]
    assert refusal(encoded(frames[0], kind, save_all=True, append_images=frames[1:])) == "image_animated"


def test_a_photo_with_a_second_picture_behind_it_is_no_animation() -> None:
    data = encoded(gradient(), "MPO", save_all=True, append_images=[gradient()])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert check_picture(data, LIMITS).width == SIZE[0]


@pytest.mark.parametrize("side", [6500, 9500, 13000, 20000])
def test_decompression_bombs_are_refused_before_decoding(side: int) -> None:
    rows = zlib.compressobj(9)
    body = b"".join(rows.compress(b"\0" + b"\0" * ((side + 7) // 8)) for _ in range(side)) + rows.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    assert len(data) < 100_000
    assert refusal(data) == "image_too_many_pixels"


def test_the_byte_cap_is_inclusive() -> None:
    data = encoded(gradient())
    assert check_picture(data, PictureLimits(max_bytes=len(data))).width == SIZE[0]
    assert refusal(data, PictureLimits(max_bytes=len(data) - 1)) == "image_too_many_bytes"


def _damage(data: bytes, edits: list[tuple[int, int]], keep: float) -> bytes:
    changed = bytearray(data)
    for where, value in edits:
        changed[where % len(changed)] = value
    return bytes(changed[: int(len(changed) * keep)])


PALETTE = encoded(gradient("P"), transparency=b"\x00\x80\xff")
SAMPLES = [
    *(encoded(gradient(), kind) for kind in ("PNG", "JPEG", "WEBP")),
    encoded(gradient("CMYK"), "JPEG", icc_profile=SWAPPED_RGB),
    encoded(gradient("RGBA"), "WEBP", icc_profile=SWAPPED_RGB, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"),
    PALETTE,
]


@settings(max_examples=200, deadline=None)
@given(
    data=st.sampled_from(SAMPLES),
    edits=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8),
    keep=st.floats(0.1, 1.0),
)
def test_damage_gives_a_picture_or_a_refusal_and_nothing_else(
    data: bytes, edits: list[tuple[int, int]], keep: float
) -> None:
    try:
        checked = check_picture(_damage(data, edits, keep), LIMITS)
    except InvalidImage:
        return
    assert decoded(checked.png).mode in ("RGB", "RGBA")
