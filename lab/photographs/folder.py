"""Pairs from a folder, by the names of its files.

NAME-target.jpg           the structure
NAME-reference.png        the appearance
NAME-target-mask.png      optional: white where the target is to be repainted
NAME-reference-mask.png   optional: white where the appearance is taken from
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from lab.baselines.case import Bytes

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
FORMATS = ("JPEG", "PNG", "WEBP")
TARGET, REFERENCE, MASK = "-target", "-reference", "-mask"


class BadFolder(Exception):
    """The folder holds no pair, or a file of one is missing or cannot be read; the message names it."""


@dataclass(frozen=True)
class Photograph:
    """A picture and where it takes part."""

    image: Bytes
    """sRGB `[height, width, 3]`."""
    part: Bytes
    """1 where the mask is white, 0 elsewhere; 1 everywhere without a mask."""


@dataclass(frozen=True)
class PhotographPair:
    """Two photographs that belong together by their names."""

    name: str
    target: Photograph
    reference: Photograph
    digest: str
    """SHA-256 over pixels and masks, in hex."""


def read_pairs(folder: Path) -> list[PhotographPair]:
    """The pairs of a folder by name. Raises BadFolder."""
    if not folder.is_dir():
        raise BadFolder(f"{folder} is no folder")
    files = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES}
    names = [stem.removesuffix(TARGET) for stem in files if stem.endswith(TARGET)]
    if not names:
        raise BadFolder(f"{folder} has no NAME{TARGET}.jpg, .png or .webp with a NAME{REFERENCE} beside it")
    return [_read_pair(folder, files, name) for name in names]


def _read_pair(folder: Path, files: dict[str, Path], name: str) -> PhotographPair:
    if name + REFERENCE not in files:
        raise BadFolder(f"{folder} has {name}{TARGET} but no {name}{REFERENCE}")
    target, reference = (_read_photograph(files, name + role) for role in (TARGET, REFERENCE))
    digest = hashlib.sha256()
    for plane in (target.image, target.part, reference.image, reference.part):
        digest.update(str(plane.shape).encode() + plane.tobytes())
    return PhotographPair(name, target, reference, digest.hexdigest())


def _read_photograph(files: dict[str, Path], stem: str) -> Photograph:
    image = np.asarray(_open(files[stem]).convert("RGB"))
    if stem + MASK not in files:
        return Photograph(image, np.ones(image.shape[:2], np.uint8))
    path = files[stem + MASK]
    mask = np.asarray(_open(path).convert("L"))
    if mask.shape != image.shape[:2]:
        raise BadFolder(f"{path} is {mask.shape[1]} x {mask.shape[0]}, its picture {image.shape[1]} x {image.shape[0]}")
    part = (mask >= 128).astype(np.uint8)
    if not part.any():
        raise BadFolder(f"{path} has no white pixel")
    return Photograph(image, part)


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path, formats=FORMATS) as picture:
            return ImageOps.exif_transpose(picture)
    except (OSError, UnidentifiedImageError) as error:
        raise BadFolder(f"{path} cannot be read as a picture") from error
