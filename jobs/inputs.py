"""The names of a job's input pictures, its parts: the four that every job may have, and those that its parameters name.

In a form, and under the job's inputs, the latter are `picture_NAME` and `mask_NAME`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self, TypeVar

from pydantic import Field

from core.params.selection import REGIONS_MAX
from core.params.transfer import TransferParams
from jobs.base import StoredModel

PARTS = ("target", "reference", "target_mask", "reference_mask")
PICTURE, MASK = "picture_", "mask_"
PART_PATTERN = r"^(picture|mask)_[a-z0-9][a-z0-9_]{0,31}$"
PICTURES_MAX, MASKS_MAX = REGIONS_MAX, 2 * REGIONS_MAX
"""No parameters name more."""
T = TypeVar("T")


def by_part(pictures: Mapping[str, T], masks: Mapping[str, T]) -> dict[str, T]:
    """The named pictures and masks, by the name of their part."""
    named = {PICTURE + name: picture for name, picture in pictures.items()}
    return named | {MASK + name: mask for name, mask in masks.items()}


@dataclass(frozen=True, slots=True)
class ExpectedInputs:
    """The pictures and masks that a job's parameters name."""

    pictures: frozenset[str]
    """Names of parts."""
    masks: dict[str, str]
    """By the name of its part, the part whose size a mask has: `target`, `reference` or one of `pictures`."""

    @classmethod
    def of(cls, params: TransferParams) -> "ExpectedInputs":
        def part(picture: str) -> str:
            return picture if picture in ("target", "reference") else PICTURE + picture

        pictures = frozenset(PICTURE + name for name in params.named_pictures)
        return cls(pictures, {MASK + name: part(owner) for name, owner in params.named_masks.items()})

    @property
    def all_pictures(self) -> tuple[str, ...]:
        """Parts that are pictures, also those that every job has."""
        return ("target", "reference", *sorted(self.pictures))

    @property
    def all_masks(self) -> dict[str, str]:
        """As `masks`, also those that every job may have."""
        return {"target_mask": "target", "reference_mask": "reference", **self.masks}

    def missing(self, given: Iterable[str]) -> list[str]:
        """Parts that the parameters name and that are not given."""
        return sorted({*self.pictures, *self.masks} - set(given))

    def needless(self, given: Iterable[str]) -> list[str]:
        """Parts that are given and that no parameter names."""
        return sorted(set(given) - self.pictures - set(self.masks))


class Size(StoredModel):
    """In pixels, upright."""

    width: int
    height: int


class InputSize(Size):
    """Of an input picture as it is used."""

    scaled_from: Size | None
    """Its size as it was sent, when that was more than the service keeps. A mask of it may have either size."""

    @classmethod
    def of(cls, size: tuple[int, int], scaled_from: tuple[int, int] | None) -> Self:
        """Of (width, height)."""
        sent = None if scaled_from is None else Size(width=scaled_from[0], height=scaled_from[1])
        return cls(width=size[0], height=size[1], scaled_from=sent)


class InputKeys(StoredModel):
    """Object keys of the checked input pictures (PNG, upright, no metadata; in sRGB, or with an RGB profile)."""

    target: str
    reference: str
    target_mask: str | None
    reference_mask: str | None
    named: dict[str, str] = Field(default_factory=dict)
    """Those that the parameters name, by the names of their parts, `picture_NAME` and `mask_NAME`."""

    @classmethod
    def of(cls, keys: Mapping[str, str]) -> Self:
        """Of the keys by part."""
        named = {part: key for part, key in keys.items() if part not in PARTS}
        masks = {"target_mask": keys.get("target_mask"), "reference_mask": keys.get("reference_mask")}
        return cls(target=keys["target"], reference=keys["reference"], **masks, named=named)

    @property
    def parts(self) -> dict[str, str]:
        """Each key by the name of its part."""
        given = ((part, getattr(self, part)) for part in PARTS)
        return {**{part: key for part, key in given if key is not None}, **self.named}
