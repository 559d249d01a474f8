"""Uploaded bytes in, clean pictures out.

`check_picture` and `check_mask` are pure functions of bytes: they refuse what is not one still JPEG, PNG, WebP, AVIF
or HEIC picture within the limits, and re-encode everything else from its pixels. What comes out is an upright
PNG in sRGB that holds pixels and nothing else: no EXIF, XMP, comment, profile, text, or bytes behind the end. Where a
picture's own colours are to be kept, an RGB profile of bare numbers lies beside the pixels (`uploads/profiles.py`).

A JPEG or HEIC photograph with more pixels than are kept is scaled down as it is decoded, and so is its mask.

Order matters: bytes, type, pixels, sides and frames are checked before the first pixel is decoded.
"""

import io
import warnings
import zlib
from dataclasses import dataclass
from math import ceil, sqrt

from PIL import Image, ImageCms
from PIL.JpegImagePlugin import JpegImageFile

from uploads.errors import InvalidImage
from uploads.formats import is_buffered_jpeg, kind_of
from uploads.png import SIGNATURE, write_png
from uploads.profiles import bare_rgb_profile

# Process-wide, because `warnings.catch_warnings` is not safe in threads. Our own caps are usually far lower.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
Image.MAX_IMAGE_PIXELS = 320_000_000
REDUCTIONS = (1, 2, 4, 8)
"""How many times fewer rows and columns a JPEG can be decoded to, from its coefficients."""
SCALED_HEIF = 2
"""A HEIC picture may have so many times the pixels that are kept: it is decoded whole, at some 8 bytes each."""
SCALED_BYTES_PER_PIXEL = 16
"""Of those that are kept: what decoding a JPEG that is scaled may take."""
_STRIP_ROWS = 256
_LANCZOS_REACH = 3
"""Rows of the result on either side that a row's filter reaches."""
Size = tuple[int, int]
"""Width and height in pixels."""
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
SWAPPING = (
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
)
"""Those of them that exchange width and height."""
PROFILE_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}
"""Colour space that an ICC profile must declare for a picture of this mode."""


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """What an uploaded picture may be. All bounds are inclusive."""

    max_bytes: int = 20 * 2**20
    max_pixels: int = 32_000_000
    """Of a picture as it is kept. Decoding takes up to 18 bytes each."""
    max_jpeg_pixels: int = 128_000_000
    """Of a JPEG as it is sent; it is scaled to `max_pixels` and `max_side_px`. A progressive one has to fit in the
    memory of a picture of `max_pixels`, which it does up to some 80 million."""
    max_side_px: int = 8192
    min_side_px: int = 16
    max_aspect: float = 16.0
    """Longer side over shorter side."""

    def fitted(self, size: Size) -> Size:
        """The largest size of the same shape that may be kept."""
        width, height = size
        scale = min(sqrt(self.max_pixels / (width * height)), self.max_side_px / max(size))
        return size if scale >= 1 else (int(width * scale), int(height * scale))


@dataclass(frozen=True, slots=True)
class CheckedPicture:
    """A picture that is safe to hand on."""

    png: bytes
    """PNG, 8 bit: RGB or RGBA, in sRGB unless it has a profile; a mask is L. No metadata."""
    width: int
    height: int
    has_alpha: bool
    scaled_from: Size | None = None
    """Its size as it was sent, upright, when it was scaled down."""

    @property
    def size(self) -> Size:
        return self.width, self.height


def check_picture(data: bytes, limits: PictureLimits, *, keep_profile: bool = False) -> CheckedPicture:
    """The picture in `data`: upright, RGBA when it has transparency of any kind, else RGB; in sRGB, or with
    `keep_profile` in the RGB space that it came in, where that can be kept.

    Raises InvalidImage, code `image_empty`, `image_too_many_bytes`, `image_type_unsupported`,
    `image_unreadable`, `image_animated`, `image_too_many_pixels`, `image_too_large_side`, `image_too_small`
    or `image_too_narrow`.
    """
    image = _open(data, limits)
    sent, profile, turn = image.size, image.info.get("icc_profile"), _turn(image)
    pixels = shrunk(_decode(image, data, limits), limits.fitted(sent))
    del image  # of large pictures there should be few copies at a time
    pixels, alpha = _split_alpha(pixels)
    kept = bare_rgb_profile(profile) if keep_profile and profile and pixels.mode == "RGB" else None
    if kept is None:
        pixels = _to_srgb(pixels, profile)
    if alpha is not None:
        pixels.putalpha(alpha)
        del alpha
    scaled_from = None if limits.fitted(sent) == sent else _upright(sent, turn)
    if turn is not None:
        pixels = pixels.transpose(turn)
    return CheckedPicture(write_png(pixels, kept), *pixels.size, pixels.mode == "RGBA", scaled_from)


def check_mask(data: bytes, limits: PictureLimits, size: Size, scaled_from: Size | None = None) -> CheckedPicture:
    """The mask in `data` as 8-bit grey, white = inside, transparent = outside. Colour profiles are ignored.

    `size` is that of the picture it belongs to, and `scaled_from` what that was before it was scaled; a mask of either
    size is accepted. Raises InvalidImage as `check_picture` does, and with `mask_size_mismatch` or `mask_empty`.
    """
    image = _open(data, limits, scaled_from)
    turn = _turn(image)
    found = _upright(image.size, turn)
    pixels, alpha = _split_alpha(_decode(image, data, limits))
    del image
    if found not in (size, scaled_from):
        expected = " or ".join(f"{width} x {height} px" for width, height in filter(None, (scaled_from, size)))
        raise InvalidImage("mask_size_mismatch", f"the mask is {found[0]} x {found[1]} px, its picture {expected}")
    inside = pixels.convert("L")
    if alpha is not None:
        inside = Image.composite(inside, Image.new("L", inside.size, 0), alpha)
    if turn is not None:
        inside = inside.transpose(turn)
    if inside.size != size:
        inside = inside.resize(size, Image.Resampling.BOX)
    if inside.getextrema()[1] == 0:
        raise InvalidImage("mask_empty", "the mask is black everywhere; white marks what is inside")
    return CheckedPicture(write_png(inside), *inside.size, False)


def _open(data: bytes, limits: PictureLimits, also_allowed: Size | None = None) -> Image.Image:
    """Reads the header and checks everything that is in it. No pixel is decoded. One size is allowed whatever the
    limits are, upright or lying."""
    if not data:
        raise InvalidImage("image_empty", "the file is empty")
    if len(data) > limits.max_bytes:
        raise InvalidImage("image_too_many_bytes", f"at most {limits.max_bytes} bytes are allowed")
    kind = kind_of(data)
    if kind == "PNG" and not _is_whole_png(data):
        raise InvalidImage("image_unreadable", "the picture is damaged or cut short")
    try:
        image = Image.open(io.BytesIO(data), formats=(kind,))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidImage("image_too_many_pixels", f"more than {limits.max_pixels} pixels") from error
    except Exception as error:  # a hostile header makes Pillow raise almost any type
        raise InvalidImage("image_unreadable", "the picture's header is damaged") from error
    if also_allowed is None or sorted(image.size) != sorted(also_allowed):
        _check_size(kind, image.size, limits)
    # A JPEG with several frames (MPO) is a photo with a preview or depth map behind it, not an animation; a HEIC file
    # with several pictures says which is the one.
    if kind in ("PNG", "WEBP", "AVIF") and getattr(image, "n_frames", 1) > 1:
        raise InvalidImage("image_animated", "animated pictures are not accepted")
    return image


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


def _check_size(kind: str, size: Size, limits: PictureLimits) -> None:
    longer, shorter = max(size), min(size)
    found = f"the picture is {size[0]} x {size[1]} px"
    scaled = {"JPEG": limits.max_jpeg_pixels, "HEIF": SCALED_HEIF * limits.max_pixels}
    most = max(scaled.get(kind, 0), limits.max_pixels)
    if longer * shorter > most:
        raise InvalidImage("image_too_many_pixels", f"{found}, {most} pixels are allowed")
    if longer > limits.max_side_px and kind not in scaled:
        raise InvalidImage("image_too_large_side", f"{found}, a side may have {limits.max_side_px}")
    if shorter < limits.min_side_px:
        raise InvalidImage("image_too_small", f"{found}, a side must have {limits.min_side_px}")
    if longer > limits.max_aspect * shorter or min(limits.fitted(size)) < limits.min_side_px:
        raise InvalidImage("image_too_narrow", f"{found}, sides may differ {limits.max_aspect:g}-fold")


def _decode(image: Image.Image, data: bytes, limits: PictureLimits) -> Image.Image:
    """Decodes every pixel; `verify()` would let a half JPEG pass. Of a JPEG with too many of them, as few as have to be
    there for it to be scaled well."""
    if isinstance(image, JpegImageFile) and limits.fitted(image.size) != image.size:
        reduction = _reduction(image, data, limits)
        image.draft(image.mode, (image.width // reduction, image.height // reduction))
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # a hostile body makes Pillow raise almost any type
        raise InvalidImage("image_unreadable", "the picture is damaged or cut short") from error
    return image


def _reduction(image: JpegImageFile, data: bytes, limits: PictureLimits) -> int:
    """The smallest with which decoding takes no more memory than is allowed. Raises InvalidImage when none does.

    Pillow takes four bytes for a pixel of colour: of what is decoded and then, beside it, of what that is scaled to.
    While it decodes, libjpeg keeps two for each coefficient of a JPEG that comes in more than one scan, however much it
    is reduced.
    """
    pixels, room = image.width * image.height, SCALED_BYTES_PER_PIXEL * limits.max_pixels
    coefficients = 2 * len(image.getbands()) * pixels if is_buffered_jpeg(data) else 0
    for reduction in REDUCTIONS:
        decoded = pixels / reduction**2
        if 4 * decoded + max(coefficients, 4 * min(decoded, limits.max_pixels)) <= room:
            return reduction
    raise InvalidImage("image_too_many_pixels", "a progressive JPEG of so many pixels takes too much memory")


def shrunk(image: Image.Image, size: Size) -> Image.Image:
    """The picture at this size, unless it is no larger. Strip by strip, because Pillow scales one direction after the
    other and keeps what lies between."""
    if image.width <= size[0] and image.height <= size[1]:
        return image
    scaled, step = Image.new(image.mode, size), image.height / size[1]
    margin = ceil(_LANCZOS_REACH * step) + 1
    for top in range(0, size[1], _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, size[1])
        first, last = max(0, int(top * step) - margin), min(image.height, ceil(bottom * step) + margin)
        strip = image.crop((0, first, image.width, last))
        box = (0, top * step - first, image.width, min(bottom * step, image.height) - first)
        scaled.paste(strip.resize((size[0], bottom - top), Image.Resampling.LANCZOS, box), (0, top))
    return scaled


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


def _upright(size: Size, turn: Image.Transpose | None) -> Size:
    """What the size of a picture is once it is turned."""
    return (size[1], size[0]) if turn in SWAPPING else size
