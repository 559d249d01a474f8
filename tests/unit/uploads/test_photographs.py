"""What phones send: more pixels than are kept, HEIC, AVIF, wide colours. Decoded by a real, confined child."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.pictures import (
    DISPLAY_P3,
    SIZE,
    SWAPPED_RGB,
    decoded,
    encoded,
    gradient,
    heic,
    lying,
    oriented,
    pixel,
)
from uploads.decoder_pool import DecoderPool, parse_response
from uploads.errors import InvalidImage
from uploads.images import PictureLimits, Size, check_picture, shrunk
from uploads.png import write_png
from uploads.profiles import bare_rgb_profile

SMALL = PictureLimits(max_pixels=10_000, max_jpeg_pixels=1_000_000, max_side_px=400)
EXACT: dict[str, Any] = {"quality": 100, "subsampling": "4:4:4"}
CORNERS = ((0.1, 0.1), (0.9, 0.1), (0.1, 0.9), (0.9, 0.9))


@pytest.fixture(scope="module")
def decoders() -> Iterator[DecoderPool]:
    pool = DecoderPool(PictureLimits(), at_once=1)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def small() -> Iterator[DecoderPool]:
    """Keeps few pixels, so that small pictures are large ones."""
    pool = DecoderPool(SMALL, at_once=1)
    yield pool
    pool.close()


def same_scene(png: bytes, image: Image.Image, tolerance: int = 4) -> None:
    found = decoded(png)
    for x, y in CORNERS:
        one = pixel(found, int(x * found.width), int(y * found.height))
        other = pixel(image, int(x * image.width), int(y * image.height))
        assert max(abs(a - b) for a, b in zip(one[:3], other[:3], strict=True)) <= tolerance, (x, y, one, other)


def refused(pool: DecoderPool, data: bytes) -> str:
    with pytest.raises(InvalidImage) as caught:
        pool.check_picture(data)
    return caught.value.code


# --- HEIC and AVIF ---


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_a_confined_child_reads_it(decoders: DecoderPool, kind: str, mode: str) -> None:
    scene = gradient(mode)
    if mode == "RGBA":
        scene.putalpha(Image.linear_gradient("L").resize(SIZE))
    data = heic(mode.lower()) if kind == "HEIF" else encoded(scene, kind, **EXACT)
    checked = decoders.check_picture(data)
    assert (checked.size, checked.has_alpha, checked.scaled_from) == (SIZE, mode == "RGBA", None)
    same_scene(checked.png, gradient(mode).convert("RGB"))
    assert decoders.check_mask(data, SIZE).size == SIZE


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
@pytest.mark.parametrize("orientation", [1, 2, 3, 6, 8])
def test_it_comes_out_upright(decoders: DecoderPool, kind: str, orientation: int) -> None:
    """The encoders write how to turn the picture as `irot` and `imir`; turned twice it would lie again."""
    if kind == "HEIF":
        data = heic(f"orientation-{orientation}")
    else:
        data = encoded(lying(orientation), kind, exif=oriented(orientation), **EXACT)
    checked = decoders.check_picture(data)
    assert checked.size == SIZE
    same_scene(checked.png, gradient())


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_its_profile_is_used(decoders: DecoderPool, kind: str) -> None:
    red_there = Image.new("RGB", SIZE, (255, 0, 0))
    data = heic("swapped-rgb") if kind == "HEIF" else encoded(red_there, kind, icc_profile=SWAPPED_RGB, **EXACT)
    red, green, blue = pixel(decoded(decoders.check_picture(data).png), 9, 9)
    assert green >= 245
    assert max(red, blue) <= 20


def test_ten_bits_become_eight(decoders: DecoderPool) -> None:
    found = pixel(decoded(decoders.check_picture(heic("ten-bits")).png), 30, 20)
    assert max(abs(a - b) for a, b in zip(found, (128, 64, 192), strict=True)) <= 2


def test_the_picture_that_a_file_names_first_is_taken(decoders: DecoderPool) -> None:
    same_scene(decoders.check_picture(heic("second-is-primary")).png, gradient())


def ftyp(major: bytes, *compatible: bytes) -> bytes:
    body = major + b"\0" * 4 + b"".join(compatible)
    return (8 + len(body)).to_bytes(4) + b"ftyp" + body


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (encoded(gradient(), "AVIF", save_all=True, append_images=[gradient("L").convert("RGB")]), "image_animated"),
        (ftyp(b"hevc", b"msf1"), "image_animated"),
        (ftyp(b"msf1", b"hevc"), "image_animated"),
        (ftyp(b"avis", b"avif"), "image_animated"),
        (ftyp(b"heic", b"mif1"), "image_unreadable"),
        (ftyp(b"avif", b"mif1"), "image_unreadable"),
        (ftyp(b"mif1", b"heic") + b"x" * 99, "image_unreadable"),
        (ftyp(b"mif1", b"jpeg"), "image_type_unsupported"),
        (ftyp(b"isom", b"mp42"), "image_type_unsupported"),
        (b"\x7f\xff\xff\xffftypheic", "image_type_unsupported"),
        (heic("rgb")[:300], "image_unreadable"),
        (encoded(gradient(), "AVIF")[:-60], "image_unreadable"),
    ],
    ids=range(12),
)
def test_what_is_no_still_picture_is_refused(decoders: DecoderPool, data: bytes, code: str) -> None:
    assert refused(decoders, data) == code


WITHOUT_DECODER = """
import sys
sys.modules["pillow_heif"] = None  # as if it were not installed
from tests.pictures import encoded, gradient, heic
from uploads.decoder_process import rehearse
from uploads.errors import InvalidImage
from uploads.images import PictureLimits, check_picture
rehearse()
check_picture(encoded(gradient(), "AVIF"), PictureLimits())
try:
    check_picture(heic("rgb"), PictureLimits())
except InvalidImage as error:
    print(error.code, str(error), sep="|")
"""


def test_where_its_decoder_is_absent_heic_is_of_an_unsupported_type() -> None:
    said = subprocess.run([sys.executable, "-c", WITHOUT_DECODER], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "image_type_unsupported|HEIC pictures are not accepted here; send JPEG"


# --- more pixels than are kept ---


@pytest.mark.parametrize("size", [(160, 120), (199, 150), (240, 180), (800, 200), (960, 720), (90, 1400)])
def test_a_jpeg_is_scaled_to_what_is_kept(small: DecoderPool, size: Size) -> None:
    data = encoded(gradient(size=size), "JPEG", quality=95)
    checked = small.check_picture(data)
    assert checked.scaled_from == size
    width, height = checked.size
    assert width * height <= SMALL.max_pixels
    assert max(checked.size) <= SMALL.max_side_px
    assert abs(width / height - size[0] / size[1]) <= 0.03 * size[0] / size[1]
    if size[0] * size[1] <= 3 * SMALL.max_pixels:
        assert checked.size == SMALL.fitted(size)
    same_scene(checked.png, gradient(size=size), tolerance=8)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK", "L"])
def test_scaling_by_strips_is_scaling(mode: str) -> None:
    image = Image.effect_noise((700, 1300), 60).convert("RGB").convert(mode)
    whole = image.resize((433, 901), Image.Resampling.LANCZOS)
    difference = np.abs(np.asarray(shrunk(image, (433, 901))).astype(int) - np.asarray(whole))
    assert difference.max() <= 1


def test_a_progressive_jpeg_is_scaled_while_its_coefficients_fit(small: DecoderPool) -> None:
    checked = small.check_picture(encoded(gradient(size=(160, 120)), "JPEG", quality=95, progressive=True))
    assert (checked.scaled_from, checked.size) == ((160, 120), (80, 60))
    same_scene(checked.png, gradient(size=(160, 120)), tolerance=8)


def test_no_more_than_needed_and_nothing_of_what_fits(small: DecoderPool) -> None:
    exactly = encoded(gradient(size=(100, 100)), "JPEG")
    assert small.check_picture(exactly).scaled_from is None
    checked = small.check_picture(encoded(gradient(size=(101, 100)), "JPEG"))
    assert (checked.scaled_from, checked.size) == ((101, 100), (100, 99))


def test_sizes_are_those_of_the_upright_picture(small: DecoderPool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = gradient(size=(120, 160)).transpose(Image.Transpose.ROTATE_90)
    checked = small.check_picture(encoded(lying, "JPEG", exif=exif, quality=95))
    assert checked.scaled_from == (120, 160)
    assert checked.size == (86, 115)
    same_scene(checked.png, gradient(size=(120, 160)), tolerance=8)


def test_colour_modes_and_second_pictures_are_scaled_too(small: DecoderPool) -> None:
    scene = gradient(size=(160, 120))
    for data in (
        encoded(scene.convert("L"), "JPEG"),
        encoded(scene.convert("CMYK"), "JPEG"),
        encoded(scene, "MPO", save_all=True, append_images=[scene]),
        heic("160x120"),
        heic("160x120-rgba"),
    ):
        assert small.check_picture(data).size == (115, 86)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (encoded(gradient(size=(1001, 1000)), "JPEG"), "image_too_many_pixels"),
        (heic("200x101"), "image_too_many_pixels"),
        (encoded(gradient(size=(101, 100)), "PNG"), "image_too_many_pixels"),
        (encoded(gradient(size=(101, 100)), "WEBP"), "image_too_many_pixels"),
        (encoded(gradient(size=(101, 100)), "AVIF"), "image_too_many_pixels"),
        (encoded(gradient(size=(404, 24)), "PNG"), "image_too_large_side"),
        (encoded(gradient(size=(300, 300)), "JPEG", progressive=True), "image_too_many_pixels"),
    ],
    ids=range(7),
)
def test_what_cannot_be_scaled_is_refused_as_before(small: DecoderPool, data: bytes, code: str) -> None:
    assert refused(small, data) == code


# --- masks of scaled pictures ---


def half_white(size: Size) -> Image.Image:
    mask = Image.new("L", size, 0)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    return mask


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_mask_may_have_the_size_that_its_picture_was_sent_with(small: DecoderPool, kind: str, mode: str) -> None:
    sent, used = (160, 120), (115, 86)
    mask = small.check_mask(encoded(half_white(sent).convert(mode), kind), used, sent)
    image = decoded(mask.png)
    assert (image.mode, image.size) == ("L", used)
    levels = np.asarray(image)
    assert levels[43, 40] >= 250
    assert levels[43, 70] <= 5


def test_a_mask_may_have_the_size_that_is_used(small: DecoderPool) -> None:
    assert small.check_mask(encoded(half_white((115, 86))), (115, 86), (160, 120)).size == (115, 86)


@pytest.mark.parametrize("size", [(120, 160), (159, 120), (116, 86), (80, 60), (320, 240)])
def test_a_mask_of_another_size_is_refused(small: DecoderPool, size: Size) -> None:
    with pytest.raises(InvalidImage) as caught:
        small.check_mask(encoded(half_white(size), "JPEG"), (115, 86), (160, 120))
    assert caught.value.code == "mask_size_mismatch"
    assert "160 x 120 px or 115 x 86 px" in str(caught.value)


def test_a_mask_that_is_turned_is_scaled_as_its_picture(small: DecoderPool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = half_white((120, 160)).transpose(Image.Transpose.ROTATE_90)
    image = decoded(small.check_mask(encoded(lying, exif=exif), (86, 115), (120, 160)).png)
    assert image.size == (86, 115)
    assert (image.getpixel((10, 50)), image.getpixel((80, 50))) == (255, 0)


# --- a picture's own colours ---


def test_pixels_stay_as_they_came_with_a_profile_of_bare_numbers(decoders: DecoderPool) -> None:
    data = encoded(gradient(), icc_profile=DISPLAY_P3)
    kept = decoded(decoders.check_picture(data, keep_profile=True).png)
    assert kept.tobytes() == gradient().tobytes()
    assert kept.info["icc_profile"] == bare_rgb_profile(DISPLAY_P3)
    assert "icc_profile" not in decoded(decoders.check_picture(data).png).info
    assert check_picture(data, PictureLimits(), keep_profile=True) == decoders.check_picture(data, keep_profile=True)


def test_other_profiles_are_converted_all_the_same(decoders: DecoderPool) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for data in (
        encoded(gradient(), icc_profile=srgb),
        encoded(gradient("CMYK"), "JPEG", icc_profile=DISPLAY_P3),
        encoded(gradient("L"), "JPEG", icc_profile=DISPLAY_P3),
        encoded(gradient()),
    ):
        assert decoders.check_picture(data, keep_profile=True) == decoders.check_picture(data)


def test_a_profile_that_is_answered_has_to_be_bare() -> None:
    bare = bare_rgb_profile(DISPLAY_P3)
    said = {"width": SIZE[0], "height": SIZE[1], "has_alpha": False}
    assert parse_response(said, write_png(gradient(), bare)).png == write_png(gradient(), bare)
    for profile in (DISPLAY_P3, b"", b"SMUGGLED" * 9, bytes(2**20)):
        with pytest.raises(ValueError, match="profile"):
            parse_response(said, write_png(gradient(), profile))
