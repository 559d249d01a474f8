"""Between stored bytes and the tensors of a transfer."""

import hashlib
import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.pipeline import Masks, TransferResult
from core.pixels import from_pil, to_pil

PREVIEW_SIDE_PX = 384
PREVIEW_QUALITY = 80


@dataclass(frozen=True)
class Pictures:
    """What a transfer starts from, as `core.pipeline.transfer` takes it."""

    target: Tensor
    reference: Tensor
    masks: Masks


@dataclass(frozen=True)
class EncodedResult:
    png: bytes
    matches_npz: bytes
    width: int
    height: int
    sha256: str
    """SHA-256 of the PNG, in hex."""
    masks: "dict[str, EncodedMask]"
    """By the picture's name; one that took part whole has none."""


@dataclass(frozen=True)
class EncodedMask:
    png: bytes
    coverage: float
    """Mean weight, 0 to 1."""


def decode_picture(png: bytes) -> Tensor:
    """An admitted RGB or RGBA PNG as [channels, height, width], 0 to 1."""
    return from_pil(_open(png))


def decode_mask(png: bytes) -> Tensor:
    """An admitted L PNG as [height, width], 0 to 1; 1 is inside."""
    return from_pil(_open(png))[0]


def encode_result(result: TransferResult) -> EncodedResult:
    image = to_pil(result.image)
    png = io.BytesIO()
    image.save(png, "PNG")
    return EncodedResult(
        png=png.getvalue(),
        matches_npz=_encode_matches(result),
        width=image.width,
        height=image.height,
        sha256=hashlib.sha256(png.getvalue()).hexdigest(),
        masks={
            name: encode_mask(mask)
            for name, mask in (("target", result.masks.target), ("reference", result.masks.reference))
            if mask is not None
        },
    )


def encode_mask(weights: Tensor) -> EncodedMask:
    """Weights [height, width], 0 to 1, as a grey PNG."""
    png = io.BytesIO()
    Image.fromarray((weights * 255.0).round().to(torch.uint8).cpu().numpy()).save(png, "PNG")
    return EncodedMask(png.getvalue(), round(float(weights.mean()), 6))


def encode_preview(pixels: Tensor) -> bytes:
    """A small JPEG of uint8 [height, width, 3]; at most PREVIEW_SIDE_PX on its longer side."""
    image = to_pil(pixels)
    image.thumbnail((PREVIEW_SIDE_PX, PREVIEW_SIDE_PX))
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=PREVIEW_QUALITY)
    return jpeg.getvalue()


def _encode_matches(result: TransferResult) -> bytes:
    matches = result.matches
    npz = io.BytesIO()
    np.savez_compressed(
        npz,
        positions=matches.positions.numpy(),
        similarity=matches.similarity.numpy(),
        inside=matches.inside.numpy(),
    )
    return npz.getvalue()


def _open(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png), formats=("PNG",))
