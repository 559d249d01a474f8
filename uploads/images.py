"""Uploaded bytes in, clean pictures out.

`check_picture` and `check_mask` are pure functions of bytes: they refuse what is not one still JPEG, PNG or
WebP picture within the limits, and re-encode everything else from its pixels. What comes out is an upright
PNG in sRGB that holds pixels and nothing else: no EXIF, XMP, comment, profile, text, or bytes behind the end.

Order matters: bytes, type, pixels, sides and frames are checked before the first pixel is decoded.
"""

import io
import warnings
import zlib
from dataclasses import dataclass

from PIL import Image, ImageCms

from uploads.errors import InvalidImage
from uploads.png import SIGNATURE, write_png

# Process-wide, because `warnings.catch_warnings` is not safe in threads. Our own cap is usually far lower.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
FORMATS = ("JPEG", "PNG", "WEBP")
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each value of the EXIF tag Orientation (0x0112); 1 is upright."""
PROFILE_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}
"""Colour space that an ICC profile must declare for a picture of this mode."""


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """What an uploaded picture may be. All bounds are inclusive."""

    max_bytes: int = 20 * 2**20
    max_pixels: int = 32_000_000
    """Decoding takes up to 18 bytes each."""
    max_side_px: int = 8192
    min_side_px: int = 16
    max_aspect: float = 16.0
    """Longer side over shorter side."""


@dataclass(frozen=True, slots=True)
class CheckedPicture:
    """A picture that is safe to hand on."""

    png: bytes
    """PNG, 8 bit: RGB or RGBA in sRGB; a mask is L. No metadata."""
    width: int
    height: int
    has_alpha: bool


def check_picture(data: bytes, limits: PictureLimits) -> CheckedPicture:
    """The picture in `data`: upright, sRGB, RGBA when it has transparency of any kind, else RGB.

    Raises InvalidImage, code `image_empty`, `image_too_many_bytes`, `image_type_unsupported`,
    `image_unreadable`, `image_animated`, `image_too_many_pixels`, `image_too_large_side`, `image_too_small`
    or `image_too_narrow`.
    """
    image = _open(data, limits)
    profile, turn = image.info.get("icc_profile"), _turn(image)
    pixels, alpha = _split_alpha(_decode(image))
    del image  # of large pictures there should be few copies at a time
    pixels = _to_srgb(pixels, profile)
    if alpha is not None:
        pixels.putalpha(alpha)
        del alpha
    return _encode(pixels if turn is None else pixels.transpose(turn))


def check_mask(data: bytes, limits: PictureLimits, size: tuple[int, int]) -> CheckedPicture:
    """The mask in `data` as 8-bit grey, white = inside, transparent = outside. Colour profiles are ignored.

    `size` is the (width, height) of the picture it belongs to. Raises InvalidImage as `check_picture` does,
    and with `mask_size_mismatch` or `mask_empty`.
    """
    image = _open(data, limits)
    turn = _turn(image)
    pixels, alpha = _split_alpha(_decode(image))
    del image
    inside = pixels.convert("L")
    if alpha is not None:
        inside = Image.composite(inside, Image.new("L", inside.size, 0), alpha)
    if turn is not None:
        inside = inside.transpose(turn)
    if inside.size != size:
        raise InvalidImage(
            "mask_size_mismatch",
            f"the mask is {inside.width} x {inside.height} px, its picture {size[0]} x {size[1]} px",
        )
    if inside.getextrema()[1] == 0:
        raise InvalidImage("mask_empty", "the mask is black everywhere; white marks what is inside")
    return _encode(inside)


def _open(data: bytes, limits: PictureLimits) -> Image.Image:
    """Reads the header and checks everything that is in it. No pixel is decoded."""
    if not data:
        raise InvalidImage("image_empty", "the file is empty")
    if len(data) > limits.max_bytes:
        raise InvalidImage("image_too_many_bytes", f"at most {limits.max_bytes} bytes are allowed")
    if not _has_known_signature(data):
        raise InvalidImage("image_type_unsupported", "only JPEG, PNG and WebP pictures are accepted")
    if data.startswith(SIGNATURE) and not _is_whole_png(data):
        raise InvalidImage("image_unreadable", "the picture is damaged or cut short")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidImage("image_too_many_pixels", f"more than {limits.max_pixels} pixels") from error
    except Exception as error:  # a hostile header makes Pillow raise almost any type
        raise InvalidImage("image_unreadable", "the picture's header is damaged") from error
    _check_size(image.width, image.height, limits)
    # A JPEG with several frames (MPO) is a photo with a preview or depth map behind it, not an animation.
    if image.format in ("PNG", "WEBP") and getattr(image, "n_frames", 1) > 1:
        raise InvalidImage("image_animated", "animated pictures are not accepted")
    return image


def _has_known_signature(data: bytes) -> bool:
    if data.startswith(b"RIFF"):
        return data[8:12] == b"WEBP"
    return data.startswith((b"\xff\xd8\xff", SIGNATURE))


def _is_whole_png(data: bytes) -> bool:
    """Whether all chunks up to the end mark are there and have their checksums. Pillow skips those of the pixels."""
    view, at = memoryview(data), len(SIGNATURE)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(view[at : at + 4])
        if end > len(data) or zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            return False
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at = end
    return False


def _check_size(width: int, height: int, limits: PictureLimits) -> None:
    longer, shorter = max(width, height), min(width, height)
    found = f"the picture is {width} x {height} px"
    if width * height > limits.max_pixels:
        raise InvalidImage("image_too_many_pixels", f"{found}, {limits.max_pixels} pixels are allowed")
    if longer > limits.max_side_px:
        raise InvalidImage("image_too_large_side", f"{found}, a side may have {limits.max_side_px}")
    if shorter < limits.min_side_px:
        raise InvalidImage("image_too_small", f"{found}, a side must have {limits.min_side_px}")
    if longer > limits.max_aspect * shorter:
        raise InvalidImage("image_too_narrow", f"{found}, sides may differ {limits.max_aspect:g}-fold")


def _decode(image: Image.Image) -> Image.Image:
    """Decodes every pixel; `verify()` would let a half JPEG pass."""
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # a hostile body makes Pillow raise almost any type
        raise InvalidImage("image_unreadable", "the picture is damaged or cut short") from error
    return image


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Colour as RGB, L or CMYK, 8 bit, and the transparency that the picture has in any form."""
    key = image.info.get("transparency")
    if image.mode == "I;16":
        # A plain conversion to L would clip everything above 255.
        image = image.convert("I").point(lambda level: level * (1 / 256)).convert("L")
    if isinstance(key, int | tuple) and image.mode != "P":
        image.info["transparency"] = _eight_bit_key(key)
    if key is not None or image.mode in ("LA", "PA", "RGBA", "La", "RGBa"):
        if image.mode != "RGBA":
            image = image.convert("RGBA")
        return image.convert("RGB"), image.getchannel("A")
    if image.mode in PROFILE_SPACES:
        return image.copy(), None  # a file's own image would carry more than pixels
    return image.convert("L" if image.mode == "1" else "RGB"), None


def _eight_bit_key(key: int | tuple[int, ...]) -> int | tuple[int, ...]:
    """The one transparent colour of a PNG without alpha. A 16-bit picture gives it in 16 bits."""
    values = (key,) if isinstance(key, int) else key
    if max(values) > 255:
        values = tuple(value >> 8 for value in values)
    return values[0] if isinstance(key, int) else values


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB in sRGB. A profile that is damaged or made for another mode is ignored, as browsers do.

    The colour space is compared first: lcms reads and writes past the pixels when mode and profile disagree.
    """
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if source.profile.xcolor_space == PROFILE_SPACES[image.mode]:
                converted = ImageCms.profileToProfile(
                    image,
                    source,
                    ImageCms.createProfile("sRGB"),
                    renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                    outputMode="RGB",
                    flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
                )
                assert converted is not None  # None only when converting in place
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass
    return image if image.mode == "RGB" else image.convert("RGB")


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What sets the picture upright."""
    try:
        return UPRIGHT.get(image.getexif().get(0x0112, 1))
    except Exception:  # damaged EXIF is no reason to refuse sound pixels
        return None


def _encode(pixels: Image.Image) -> CheckedPicture:
    return CheckedPicture(write_png(pixels), pixels.width, pixels.height, pixels.mode == "RGBA")
