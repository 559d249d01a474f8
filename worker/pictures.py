"""Stored files to the tensors of a transfer, and its results to files."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.images.canvas import from_pil, to_pil
from core.masks.regions import Masks, Named
from core.matching.correspondence import Matches
from core.pipeline import MatchResult, TransferInputs, TransferResult
from jobs.inputs import MASK, PICTURE
from jobs.schema import Output
from worker.drawing import draw_matches

PREVIEW_SIDE_PX = 384
PREVIEW_QUALITY = 80
DEFAULT_QUALITY = 90
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
    confidence: float | None
    """How surely `auto` found it, 0 to 1; None where it was given."""


def decode_picture(png: bytes) -> Tensor:
    """An admitted RGB or RGBA PNG as [channels, height, width], 0 to 1."""
    return from_pil(_open(png))


def decode_mask(png: bytes) -> Tensor:
    """An admitted L PNG as [height, width], 0 to 1; 1 is inside."""
    return from_pil(_open(png))[0]


def decode_inputs(parts: Mapping[str, bytes], prompt: str = "", negative_prompt: str = "") -> TransferInputs:
    """The inputs of a transfer, from admitted PNGs by the names of their parts in the form."""
    mask, other_mask = (
        decode_mask(parts[part]) if part in parts else None for part in ("target_mask", "reference_mask")
    )
    return TransferInputs(
        decode_picture(parts["target"]),
        decode_picture(parts["reference"]),
        Masks(mask, other_mask),
        decode_named(parts),
        prompt,
        negative_prompt,
    )


def decode_named(parts: Mapping[str, bytes]) -> Named:
    """The pictures and masks that regions refer to by name, of admitted PNGs by the names of their parts."""

    def starting_with(prefix: str) -> Iterator[tuple[str, bytes]]:
        return ((name.removeprefix(prefix), png) for name, png in parts.items() if name.startswith(prefix))

    return Named(
        {name: decode_picture(png) for name, png in starting_with(PICTURE)},
        {name: decode_mask(png) for name, png in starting_with(MASK)},
    )


def encode_result(inputs: TransferInputs, result: TransferResult | MatchResult, output: Output) -> dict[str, Encoded]:
    """The files of a result: `image`, where there is one, `matches` and `matches_picture`."""
    picture = io.BytesIO()
    references = result.references or (inputs.reference,)
    draw_matches(inputs.target, references, result.matches).save(picture, "PNG")
    files = {
        "matches": Encoded("matches.npz", "application/zip", _encode_matches(result.matches)),
        "matches_picture": Encoded("matches.png", "image/png", picture.getvalue()),
    }
    if isinstance(result, TransferResult):
        data = encode_image(to_pil(result.image), output)
        files["image"] = Encoded(f"image.{SUFFIXES[output.format]}", f"image/{output.format}", data)
    return files


def encode_image(image: Image.Image, output: Output) -> bytes:
    """The picture in the format of `output`. Transparency is kept unless a background is given; a JPEG has none."""
    if output.background is not None and image.mode == "RGBA":
        behind = Image.new("RGBA", image.size, output.background)
        image = Image.alpha_composite(behind, image).convert("RGB")
    file = io.BytesIO()
    if output.format == "png":
        image.save(file, "PNG")
    else:
        image.save(file, output.format.upper(), quality=output.quality or DEFAULT_QUALITY)
    return file.getvalue()


def encode_masks(masks: Masks) -> dict[str, EncodedMask]:
    """The masks that were used, by the name of the picture; a picture without a mask is left out."""
    named = (
        ("target", masks.target, masks.target_confidence),
        ("reference", masks.reference, masks.reference_confidence),
    )
    return {name: encode_mask(mask, confidence) for name, mask, confidence in named if mask is not None}


def encode_mask(weights: Tensor, confidence: float | None) -> EncodedMask:
    """Weights [height, width], 0 to 1, as a grey PNG."""
    png = io.BytesIO()
    Image.fromarray((weights * 255.0).round().to(torch.uint8).cpu().numpy()).save(png, "PNG")
    sure = None if confidence is None else round(confidence, 4)
    return EncodedMask(png.getvalue(), round(float(weights.mean()), 6), sure)


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
