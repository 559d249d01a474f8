"""Pictures and masks that come with a job beside the four that every job may have, by names that its parameters use.

In a form, and under the job's inputs, they are `picture_NAME` and `mask_NAME`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from core.params import TransferParams

PICTURE, MASK = "picture_", "mask_"
PART_PATTERN = r"^(picture|mask)_[a-z0-9][a-z0-9_]{0,31}$"


@dataclass(frozen=True, slots=True)
class Expected:
    """What a job's parameters name."""

    pictures: frozenset[str]
    """Names of parts."""
    masks: dict[str, str]
    """By the name of its part, the part whose size a mask has: `target`, `reference` or one of `pictures`."""

    @classmethod
    def by(cls, params: TransferParams) -> "Expected":
        def part(picture: str) -> str:
            return picture if picture in ("target", "reference") else PICTURE + picture

        pictures = frozenset(PICTURE + name for name in params.named_pictures)
        return cls(pictures, {MASK + name: part(owner) for name, owner in params.named_masks.items()})

    def missing(self, given: Iterable[str]) -> list[str]:
        """Parts that the parameters name and that are not given."""
        return sorted({*self.pictures, *self.masks} - set(given))

    def needless(self, given: Iterable[str]) -> list[str]:
        """Parts that are given and that no parameter names."""
        return sorted(set(given) - self.pictures - set(self.masks))
