import pytest
from PIL import Image

from tests.pictures import LINEAR_GRAY, SIZE, decoded, encoded, raw_png
from uploads.errors import InvalidImage
from uploads.images import PictureLimits, check_mask

LIMITS = PictureLimits()


def mask_image(mode: str = "L") -> Image.Image:
    image = Image.new("L", SIZE, 0)
    image.paste(255, (0, 0, SIZE[0] // 2, SIZE[1]))
    return image.convert(mode)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_a_mask_is_grey_and_white_is_inside(mode: str) -> None:
    if mode == "I;16":
        rows = (b"\0" + b"\xff\xff" * (SIZE[0] // 2) + b"\0\0" * (SIZE[0] // 2)) * SIZE[1]
        data = raw_png(SIZE, 16, 0, rows)
    else:
        data = encoded(mask_image(mode))
    image = decoded(check_mask(data, LIMITS, SIZE).png)
    assert image.mode == "L"
    assert (image.getpixel((2, 2)), image.getpixel((40, 2))) == (255, 0)


def test_transparent_parts_of_a_mask_are_outside() -> None:
    source = Image.new("RGBA", SIZE, (255, 255, 255, 0))
    source.paste((255, 255, 255, 255), (0, 0, 10, 10))
    image = decoded(check_mask(encoded(source), LIMITS, SIZE).png)
    assert (image.getpixel((2, 2)), image.getpixel((40, 20))) == (255, 0)


def test_a_colour_profile_does_not_bend_a_mask() -> None:
    data = encoded(Image.new("L", SIZE, 128), icc_profile=LINEAR_GRAY)
    assert decoded(check_mask(data, LIMITS, SIZE).png).getpixel((3, 3)) == 128


def test_a_mask_is_turned_upright_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = mask_image().transpose(Image.Transpose.ROTATE_90)
    image = decoded(check_mask(encoded(lying, exif=exif), LIMITS, SIZE).png)
    assert (image.getpixel((2, 2)), image.getpixel((40, 2))) == (255, 0)


@pytest.mark.parametrize(
    ("image", "code"),
    [(mask_image().resize((47, 32)), "mask_size_mismatch"), (Image.new("L", SIZE, 0), "mask_empty")],
)
def test_masks_that_cannot_be_used_are_refused(image: Image.Image, code: str) -> None:
    with pytest.raises(InvalidImage) as caught:
        check_mask(encoded(image), LIMITS, SIZE)
    assert caught.value.code == code
