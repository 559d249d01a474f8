"""Between sRGB, in which everything is computed, and the RGB space that a target came in.

A stored picture may have a profile beside its pixels: bare numbers that the decoders have composed
(`uploads/profiles.py`), never what a client has sent.
"""

import io

import numpy as np
from PIL import Image, ImageCms

_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC


def profile_of(image: Image.Image) -> bytes | None:
    """Of a stored picture; None: it is in sRGB."""
    profile = image.info.get("icc_profile")
    assert profile is None or isinstance(profile, bytes)
    return profile


def to_srgb(image: Image.Image) -> Image.Image:
    """A stored RGB or RGBA picture in sRGB."""
    profile = profile_of(image)
    return image if profile is None else _converted(image, _opened(profile), _srgb())


def to_space_of(target: Image.Image, result: Image.Image) -> Image.Image:
    """A result, RGB or RGBA in sRGB, in the space of the stored target that it was made from, of the same size.

    Where the result is the target unchanged it gets the target's own pixels back: sRGB may not have their colours.
    """
    profile = profile_of(target)
    assert profile is not None
    before = np.asarray(to_srgb(target).convert("RGB"))
    unchanged = (np.asarray(result.convert("RGB")) == before).all(axis=-1)
    converted = _converted(result, _srgb(), _opened(profile))
    converted.paste(target.convert(converted.mode), mask=Image.fromarray(unchanged))
    return converted


def color_in(profile: bytes, color: str) -> tuple[int, ...]:
    """An sRGB colour such as `#ffffff` in the profile's space."""
    pixel = _converted(Image.new("RGB", (1, 1), color), _srgb(), _opened(profile)).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return tuple(int(level) for level in pixel)


def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _opened(profile: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(io.BytesIO(profile))


def _converted(image: Image.Image, source: ImageCms.ImageCmsProfile, goal: ImageCms.ImageCmsProfile) -> Image.Image:
    """Transparency stays as it is."""
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    converted = ImageCms.profileToProfile(
        image.convert("RGB"), source, goal, renderingIntent=_INTENT, outputMode="RGB", flags=_FLAGS
    )
    assert converted is not None  # None only when converting in place
    if alpha is not None:
        converted.putalpha(alpha)
    converted.info.pop("icc_profile", None)
    return converted
