"""Between sRGB, in which everything is computed, and the RGB space that a target came in.

A stored picture may have a profile beside its pixels: bare numbers that the decoders have composed
(`uploads/profiles.py`), never what a client has sent.
"""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageCms

_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
_STRIP_PIXELS = 2**20


def profile_of(image: Image.Image) -> bytes | None:
    """Of a stored picture; None: it is in sRGB."""
    profile = image.info.get("icc_profile")
    assert profile is None or isinstance(profile, bytes)
    return profile


def strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Rows of the picture from top to bottom, some at a time, each with the first one's number: what is computed with
    them needs little memory beside the picture."""
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def to_srgb(image: Image.Image) -> Image.Image:
    """A stored RGB or RGBA picture in sRGB."""
    profile = profile_of(image)
    return image if profile is None else _converted(image, _transform(_opened(profile), _srgb()))


def to_space_of(target: Image.Image, result: Image.Image) -> Image.Image:
    """A result, RGB or RGBA in sRGB, in the space of the stored target that it was made from, of the same size.

    Where the result is the target unchanged it gets the target's own pixels back: sRGB may not have their colours.
    """
    profile = profile_of(target)
    assert profile is not None
    there, here = _transform(_srgb(), _opened(profile)), _transform(_opened(profile), _srgb())
    converted = Image.new(result.mode, result.size)
    for (top, own), (_, made) in zip(strips(target), strips(result), strict=True):
        before = np.asarray(_converted(own, here).convert("RGB"))
        unchanged = (np.asarray(made.convert("RGB")) == before).all(axis=-1)
        strip = _converted(made, there)
        strip.paste(own.convert(strip.mode), mask=Image.fromarray(unchanged))
        converted.paste(strip, (0, top))
    return converted


def color_in(profile: bytes, color: str) -> tuple[int, ...]:
    """An sRGB colour such as `#ffffff` in the profile's space."""
    pixel = _converted(Image.new("RGB", (1, 1), color), _transform(_srgb(), _opened(profile))).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return tuple(int(level) for level in pixel)


def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _opened(profile: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(io.BytesIO(profile))


def _transform(source: ImageCms.ImageCmsProfile, goal: ImageCms.ImageCmsProfile) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(source, goal, "RGB", "RGB", renderingIntent=_INTENT, flags=_FLAGS)


def _converted(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    """Strip by strip. Transparency stays as it is."""
    converted = Image.new(image.mode, image.size)
    for top, strip in strips(image):
        colors = ImageCms.applyTransform(strip.convert("RGB"), transform)
        assert colors is not None  # None only when converting in place
        if image.mode == "RGBA":
            colors.putalpha(strip.getchannel("A"))
        converted.paste(colors, (0, top))
    return converted
