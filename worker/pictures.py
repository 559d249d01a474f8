"""Stored files to the tensors of a transfer, and its results to files."""

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from core.images.canvas import to_pil
from core.masks.regions import Masks, Named
from core.matching.correspondence import Matches
from core.pipeline import MatchResult, TransferInputs, TransferResult
from jobs.inputs import MASK, PICTURE
from jobs.schema import Output
from worker.color import color_in, profile_of, strips, to_space_of, to_srgb
from worker.drawing import draw_matches
from worker.marking import XMP

PREVIEW_SIDE_PX = 384
PREVIEW_QUALITY = 80
DEFAULT_QUALITY = 90
ROWS_AT_ONCE = 256
SUFFIXES = {"png": "png", "webp": "webp", "jpeg": "jpg"}


@dataclass(frozen=True)
class Encoded:
    """A file of a result."""

    name: str
    content_type: str
    data: bytes


@dataclass(frozen=True)
class EncodedMask:
    png: bytes
    coverage: float
    """Mean weight, 0 to 1."""


Look = Callable[[Image.Image, str], None]
"""Gets each picture that is decoded, in sRGB, and the name of its part."""


def decode_picture(png: bytes, part: str = "target", look: Look | None = None) -> Tensor:
    """An admitted RGB or RGBA PNG as bytes [channels, height, width] in sRGB. Raises what `look` raises."""
    image = to_srgb(_open(png))
    if look is not None:
        look(image, part)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def decode_mask(png: bytes) -> Tensor:
    """An admitted L PNG as [height, width], 0 to 1; 1 is inside. Strip by strip, so that there is no third copy."""
    image = _open(png)
    weights = torch.empty(image.height, image.width)
    for top, strip in strips(image):
        weights[top : top + strip.height] = torch.from_numpy(np.array(strip))
    return weights.div_(255.0)


def decode_inputs(
    parts: Mapping[str, bytes], prompt: str = "", negative_prompt: str = "", look: Look | None = None
) -> TransferInputs:
    """The inputs of a transfer, from admitted PNGs by the names of their parts in the form. Raises what `look`
    raises."""
    masks = (decode_mask(parts[part]) if part in parts else None for part in ("target_mask", "reference_mask"))
    return TransferInputs(
        decode_picture(parts["target"], "target", look),
        decode_picture(parts["reference"], "reference", look),
        Masks(*masks),
        decode_named(parts, look),
        prompt,
        negative_prompt,
    )


def decode_named(parts: Mapping[str, bytes], look: Look | None = None) -> Named:
    """The pictures and masks that regions refer to by name, of admitted PNGs by the names of their parts."""

    def starting_with(prefix: str) -> Iterator[tuple[str, bytes]]:
        return ((name.removeprefix(prefix), png) for name, png in parts.items() if name.startswith(prefix))

    return Named(
        {name: decode_picture(png, PICTURE + name, look) for name, png in starting_with(PICTURE)},
        {name: decode_mask(png) for name, png in starting_with(MASK)},
    )


@dataclass(frozen=True)
class ImageWriting:
    """How the finished picture of a job becomes a file."""

    output: Output
    mark: bool = True
    """Whether it is marked as made with a model (`worker/marking.py`)."""
    target: bytes | None = None
    """The stored target, whose colour space the picture gets; None: sRGB."""

    @property
    def keeps_profile(self) -> bool:
        return self.target is not None and profile_of(_open(self.target)) is not None


def encode_result(
    inputs: TransferInputs, result: TransferResult | MatchResult, writing: ImageWriting
) -> dict[str, Encoded]:
    """The files of a result: `image`, where there is one, `matches` and `matches_picture`."""
    picture = io.BytesIO()
    references = result.references or (inputs.reference,)
    draw_matches(inputs.target, references, result.matches).save(picture, "PNG")
    files = {
        "matches": Encoded("matches.npz", "application/zip", _encode_matches(result.matches)),
        "matches_picture": Encoded("matches.png", "image/png", picture.getvalue()),
    }
    if isinstance(result, TransferResult):
        kind = writing.output.format
        data = encode_image(to_pil(result.image), writing)
        files["image"] = Encoded(f"image.{SUFFIXES[kind]}", f"image/{kind}", data)
    return files


def encode_image(image: Image.Image, writing: ImageWriting) -> bytes:
    """The picture, RGB or RGBA in sRGB, as `writing` has it. Transparency is kept unless a background is given; a JPEG
    has none."""
    output, profile = writing.output, None
    background: str | tuple[int, ...] | None = output.background
    if writing.keeps_profile:
        assert writing.target is not None
        target = _open(writing.target)
        image, profile = to_space_of(target, image), profile_of(target)
        assert profile is not None
        background = color_in(profile, output.background) if output.background is not None else None
    if background is not None and image.mode == "RGBA":
        behind = Image.new("RGB", image.size, background)
        image = Image.alpha_composite(behind.convert("RGBA"), image).convert("RGB")
    return _saved(image, output, profile, XMP if writing.mark else None)


def _saved(image: Image.Image, output: Output, profile: bytes | None, xmp: str | None) -> bytes:
    """A file with the profile and the XMP packet, where there is one."""
    file, colors = io.BytesIO(), {} if profile is None else {"icc_profile": profile}
    if output.format == "png":
        text = PngImagePlugin.PngInfo()
        if xmp is not None:
            text.add_itxt("XML:com.adobe.xmp", xmp)
        image.save(file, "PNG", pnginfo=text, **colors)
    else:
        packet = {} if xmp is None else {"xmp": xmp.encode()}
        image.save(file, output.format.upper(), quality=output.quality or DEFAULT_QUALITY, **colors, **packet)
    return file.getvalue()


def encode_masks(masks: Masks) -> dict[str, EncodedMask]:
    """The masks that were used, by the name of the picture; a picture without a mask is left out."""
    named = (("target", masks.target), ("reference", masks.reference))
    return {name: encode_mask(mask) for name, mask in named if mask is not None}


def encode_mask(weights: Tensor) -> EncodedMask:
    """Weights [height, width], 0 to 1, as a grey PNG."""
    png, levels = io.BytesIO(), torch.empty(weights.shape, dtype=torch.uint8)
    for some, rows in zip(levels.split(ROWS_AT_ONCE), weights.split(ROWS_AT_ONCE), strict=True):
        some.copy_((rows * 255.0).round())
    Image.fromarray(levels.numpy()).save(png, "PNG")
    return EncodedMask(png.getvalue(), round(float(weights.mean()), 6))


def encode_preview(pixels: Tensor) -> bytes:
    """A small JPEG of uint8 [height, width, 3]; at most PREVIEW_SIDE_PX on its longer side."""
    image = to_pil(pixels)
    image.thumbnail((PREVIEW_SIDE_PX, PREVIEW_SIDE_PX))
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=PREVIEW_QUALITY)
    return jpeg.getvalue()


def _encode_matches(matches: Matches) -> bytes:
    npz = io.BytesIO()
    np.savez_compressed(
        npz,
        positions=matches.positions.numpy(),
        similarity=matches.similarity.numpy(),
        inside=matches.inside.numpy(),
        confidence=matches.confidence.numpy(),
        region=matches.region.numpy(),
    )
    return npz.getvalue()


def _open(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png), formats=("PNG",))
