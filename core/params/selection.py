"""How a caller points at a part of one picture. Plain data, part of `core.params.transfer`; places are fractions 0
to 1 of the
picture as it was given, from its left and top.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PictureName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]{0,31}$")]
"""What an uploaded picture or mask is called; `target` and `reference` are taken."""
REGIONS_MAX = 8
Part = Annotated[str, Field(min_length=1, max_length=60, pattern=r"\S")]
"""What a part is called, in English."""
Place = tuple[Fraction, Fraction]
"""x from the left, y from the top."""
Box = tuple[Fraction, Fraction, Fraction, Fraction]
"""Left, top, right, bottom."""


class Landmark(BaseModel):
    """One place of the target and the place of the reference that belongs to it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    target: Place
    """(x, y) in the target."""

    reference: Place
    """(x, y) in the reference."""


class Selection(BaseModel):
    """Which part of a picture is meant. Several ways of selecting restrict one another: an uploaded mask, a box and a
    text select where all three agree. Empty: everything that the uploaded mask or the alpha lets in."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    box: Box | None = None
    """Left, top, right, bottom of a box around the thing. Its outline is found by the segmentation model."""

    points: tuple[Place, ...] = Field(default=(), max_length=32)
    """Places (x, y) on the thing, alone or with a box, for the segmentation model."""

    points_off: tuple[Place, ...] = Field(default=(), max_length=32)
    """Places (x, y) that do not belong to the thing, where box or points take in too much."""

    text: str = Field(default="", max_length=200)
    """What the thing is called, in English, for the text segmentation model."""

    invert: bool = False
    """Take everything but what is selected, by mask, box, points or text. Transparent pixels stay out."""

    @property
    def pointed(self) -> bool:
        """Whether it takes a segmentation model to know what is meant."""
        return self.box is not None or bool(self.points)

    @model_validator(mode="after")
    def _can_be_meant(self) -> "Selection":
        if self.box is not None:
            left, top, right, bottom = self.box
            if left >= right or top >= bottom:
                raise ValueError("box: left must be < right, and top < bottom")
        if self.points_off and not self.pointed:
            raise ValueError("points_off: needs a box or points to take from")
        if self.text and not self.text.strip():
            raise ValueError("text: blank")
        return self


class Region(BaseModel):
    """A part of the target and where its appearance comes from. Pictures and masks beside the job's own are named; a
    form has them as parts `picture_NAME` and `mask_NAME`, JSON in `pictures` and `masks`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    target_mask: PictureName | None = None
    """Name of an uploaded mask of the target: white = this region."""

    target_selection: Selection = Selection()
    """What of the target is this region, by box, points or text; with a mask, where both agree."""

    reference: PictureName | None = None
    """Name of the uploaded picture that it takes from. Absent: the job's reference."""

    reference_mask: PictureName | None = None
    """Name of an uploaded mask of that picture: white = where appearance may come from."""

    reference_selection: Selection = Selection()
    """Where in that picture appearance may come from."""

    scale: float = Field(default=1.0, ge=0.0, le=1.0)
    """How far this region goes towards the reference's appearance."""

    @property
    def masks(self) -> list[tuple[str, str]]:
        """Names of its masks, each with the picture that it belongs to: `target`, `reference` or a name."""
        named = ((self.target_mask, "target"), (self.reference_mask, self.reference or "reference"))
        return [(mask, owner) for mask, owner in named if mask is not None]

    @model_validator(mode="after")
    def _names_are_free(self) -> "Region":
        if self.reference in ("target", "reference"):
            raise ValueError(f"reference: {self.reference!r} is not free; leave it out for the job's reference")
        return self
