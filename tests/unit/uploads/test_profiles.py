"""Of a profile only the numbers that define its colours go on, and only where they are those of an RGB space."""

import io
import struct

import pytest
from PIL import Image, ImageCms

from tests.pictures import D50, DISPLAY_P3, LINEAR_CURVE, LINEAR_GRAY, SRGB_CURVE, SWAPPED_RGB, icc_profile, xyz
from uploads.profiles import LARGEST_PROFILE, LONGEST_CURVE, bare_rgb_profile

P3_PRIMARIES = {
    b"rXYZ": xyz(0.5151, 0.2412, -0.0011),
    b"gXYZ": xyz(0.2920, 0.6923, 0.0419),
    b"bXYZ": xyz(0.1571, 0.0666, 0.7841),
}


def with_curve(curve: bytes, **more: bytes) -> bytes:
    curves = {name: curve for name in (b"rTRC", b"gTRC", b"bTRC")}
    return icc_profile(b"RGB ", {b"wtpt": D50, **P3_PRIMARIES, **curves} | {k.encode(): v for k, v in more.items()})


def table(values: list[int]) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(f">I{len(values)}H", len(values), *values)


def converted(profile: bytes, color: tuple[int, int, int]) -> tuple[int, ...]:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    image = ImageCms.profileToProfile(Image.new("RGB", (1, 1), color), source, ImageCms.createProfile("sRGB"))
    assert image is not None
    pixel = image.getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return tuple(map(int, pixel))


@pytest.mark.parametrize(
    "profile",
    [
        DISPLAY_P3,
        SWAPPED_RGB,
        with_curve(LINEAR_CURVE),
        with_curve(table([round(2.2 * 256)])),
        with_curve(table([round(65535 * (n / 1023) ** 1.8) for n in range(1024)])),
    ],
)
def test_colours_are_the_same_and_nothing_else_is(profile: bytes) -> None:
    bare = bare_rgb_profile(profile)
    assert bare is not None
    assert bare_rgb_profile(bare) == bare
    assert len(bare) <= LARGEST_PROFILE
    assert b"SMUGGLED" not in bare
    for color in ((200, 30, 40), (10, 220, 90), (128, 128, 128), (3, 2, 1), (250, 250, 0)):
        assert max(abs(a - b) for a, b in zip(converted(bare, color), converted(profile, color), strict=True)) <= 1


def test_known_spaces_are_called_by_their_name() -> None:
    bare = bare_rgb_profile(DISPLAY_P3)
    assert bare is not None
    assert ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(bare))).strip() == "Display P3"


@pytest.mark.parametrize(
    "profile",
    [
        b"",
        b"x" * 500,
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        LINEAR_GRAY,
        DISPLAY_P3[:300],
        with_curve(table([9, 4, 2, 1])),
        with_curve(table([7] * 9)),
        with_curve(table(list(range(LONGEST_CURVE + 1)))),
        with_curve(table([1])),
        with_curve(b"para\0\0\0\0\0\7\0\0" + b"\0" * 40),
        with_curve(b"para\0\0\0\0\0\0\0\0" + struct.pack(">i", -65536)),
        with_curve(SRGB_CURVE, A2B0=b"mft2" + b"\0" * 60),
        with_curve(SRGB_CURVE, rXYZ=xyz(99, 0, 0)),
        with_curve(SRGB_CURVE, rXYZ=xyz(0.2920, 0.6923, 0.0419)),
        with_curve(SRGB_CURVE, rXYZ=b"XYZ"),
    ],
    ids=range(15),
)
def test_what_is_not_kept(profile: bytes) -> None:
    assert bare_rgb_profile(profile) is None


@pytest.mark.parametrize("at", range(0, len(DISPLAY_P3), 7))
def test_damage_never_ends_in_an_error(at: int) -> None:
    for value in (0, 127, 255):
        damaged = DISPLAY_P3[:at] + bytes([value]) + DISPLAY_P3[at + 1 :]
        bare = bare_rgb_profile(damaged)
        assert bare is None or bare_rgb_profile(bare) == bare
