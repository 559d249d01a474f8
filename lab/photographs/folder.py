"""Pairs from a folder, by the names of its files.

NAME-target.jpg           the structure
NAME-reference.png        the appearance
NAME-target-mask.png      optional: white where the target is to be repainted
NAME-reference-mask.png   optional: white where the appearance is taken from
NAME-truth.png            optional: the right result, of the target's size
NAME-points.json          optional: places that belong together, as `plumage match --truth` takes them
NAME-map.json             optional: the true correspondence, as `matching.custom_map` takes it

What stands before the first `-` of NAME is the set that a pair belongs to.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import TypeAdapter, ValidationError

from core.params.selection import Landmark, Place
from core.params.transfer import MatchingParams
from lab.baselines.case import Bytes

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
FORMATS = ("JPEG", "PNG", "WEBP")
TARGET, REFERENCE, MASK, TRUTH = "-target", "-reference", "-mask", "-truth"
POINTS, MAP = "-points.json", "-map.json"
HALF = 128
"""Level of a mask from which a pixel counts as inside."""

Places = tuple[tuple[Place, ...], ...]
"""Rows of places (x, y) in the reference, fractions of its sides, for the cells of a grid over the target."""


class BadFolder(Exception):
    """The folder holds no pair, or a file of one is missing or cannot be read; the message names it."""


@dataclass(frozen=True)
class Photograph:
    """A picture and where it takes part."""

    image: Bytes
    """sRGB `[height, width, 3]`."""
    mask: Bytes
    """`[height, width]`, 255 inside and 0 outside, in between on the edge; 255 everywhere without a mask."""

    @property
    def part(self) -> Bytes:
        """1 where the mask is nearer to white, else 0."""
        return (self.mask >= HALF).astype(np.uint8)

    @property
    def weights(self) -> NDArray[np.float32]:
        """The mask, 0 to 1."""
        return self.mask.astype(np.float32) / np.float32(255.0)


@dataclass(frozen=True)
class PhotographPair:
    """One pair with all that is known of it."""

    name: str
    target: Photograph
    reference: Photograph
    truth: Bytes | None = None
    """The right result, sRGB of the target's size."""
    points: tuple[Landmark, ...] = ()
    true_map: Places = ()
    """The true correspondence; empty where it is not known."""

    @property
    def digest(self) -> str:
        """SHA-256 over all of it, in hex."""
        digest = hashlib.sha256()
        planes = [self.target.image, self.target.mask, self.reference.image, self.reference.mask]
        for plane in planes if self.truth is None else [*planes, self.truth]:
            digest.update(str(plane.shape).encode() + plane.tobytes())
        digest.update(repr((self.points, self.true_map)).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class PairFiles:
    """A pair that lies in a folder and has been read once, so that many large ones need not be in memory together."""

    folder: Path
    name: str
    digest: str
    has_truth: bool
    judged: bool
    """Whether anything lies beside the two pictures by which results, matches or masks are judged."""

    @property
    def set_name(self) -> str:
        """The part of the name before its first `-`."""
        return self.name.partition("-")[0]

    def read(self) -> PhotographPair:
        """Raises BadFolder."""
        return read_pair(self.folder, self.name)


def find_pairs(folder: Path) -> list[PairFiles]:
    """The pairs of a folder by name, each looked through. Raises BadFolder."""
    if not folder.is_dir():
        raise BadFolder(f"{folder} is no folder")
    stems = _pictures(folder)
    names = [stem.removesuffix(TARGET) for stem in stems if stem.endswith(TARGET)]
    if not names:
        raise BadFolder(f"{folder} has no NAME{TARGET}.jpg, .png or .webp with a NAME{REFERENCE} beside it")
    found = []
    for name in names:
        pair = read_pair(folder, name)
        has_truth, masked = pair.truth is not None, bool(pair.target.mask.min() < pair.target.mask.max())
        found.append(PairFiles(folder, name, pair.digest, has_truth, has_truth or masked or bool(pair.points)))
    return found


def read_pair(folder: Path, name: str) -> PhotographPair:
    """One pair with whatever lies beside it. Raises BadFolder."""
    files = _pictures(folder)
    for role in (TARGET, REFERENCE):
        if name + role not in files:
            raise BadFolder(f"{folder} has no {name}{role}, which its other files ask for")
    target, reference = (_read_photograph(files, name + role) for role in (TARGET, REFERENCE))
    truth = _read_truth(files[name + TRUTH], target) if name + TRUTH in files else None
    points, true_map = folder / (name + POINTS), folder / (name + MAP)
    return PhotographPair(
        name,
        target,
        reference,
        truth,
        _read_points(points) if points.exists() else (),
        _read_map(true_map) if true_map.exists() else (),
    )


def _pictures(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES}


def _read_photograph(files: dict[str, Path], stem: str) -> Photograph:
    image = np.asarray(_open(files[stem]).convert("RGB"))
    if stem + MASK not in files:
        return Photograph(image, np.full(image.shape[:2], 255, np.uint8))
    path = files[stem + MASK]
    mask = np.asarray(_open(path).convert("L"))
    _check_size(path, mask, image)
    if not (mask >= HALF).any():
        raise BadFolder(f"{path} has no white pixel")
    return Photograph(image, mask)


def _read_truth(path: Path, target: Photograph) -> Bytes:
    truth: Bytes = np.asarray(_open(path).convert("RGB"))
    _check_size(path, truth, target.image)
    return truth


def _check_size(path: Path, plane: Bytes, image: Bytes) -> None:
    if plane.shape[:2] != image.shape[:2]:
        sizes = [f"{shape[1]} x {shape[0]}" for shape in (plane.shape, image.shape)]
        raise BadFolder(f"{path} is {sizes[0]}, its picture {sizes[1]}")


def _read_points(path: Path) -> tuple[Landmark, ...]:
    try:
        points = TypeAdapter(tuple[Landmark, ...]).validate_json(path.read_bytes())
    except ValidationError as error:
        raise BadFolder(f"{path}: {error.errors()[0]['msg']}") from error
    if not points:
        raise BadFolder(f"{path}: no pair of places")
    return points


def _read_map(path: Path) -> Places:
    try:
        places = TypeAdapter(Places).validate_json(path.read_bytes())
        return MatchingParams(source="custom", custom_map=places).custom_map
    except ValidationError as error:
        raise BadFolder(f"{path}: {error.errors()[0]['msg']}") from error


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path, formats=FORMATS) as picture:
            return ImageOps.exif_transpose(picture)
    except (OSError, UnidentifiedImageError) as error:
        raise BadFolder(f"{path} cannot be read as a picture") from error
