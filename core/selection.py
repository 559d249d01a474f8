"""How a caller points at a part of one picture. Plain data, part of `core.params`; places are fractions 0 to 1 of the
picture as it was given, from its left and top."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Place = tuple[Fraction, Fraction]
"""x from the left, y from the top."""
Box = tuple[Fraction, Fraction, Fraction, Fraction]
"""Left, top, right, bottom."""


class Pin(BaseModel):
    """One place of the target and the place of the reference that belongs to it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    target: Place
    """(x, y) in the target."""

    reference: Place
    """(x, y) in the reference."""


class Selection(BaseModel):
    """Which part of a picture is meant. What is said in several ways is meant in all of them at once: an uploaded mask,
    a box and a text select where all three agree. Empty: everything that the uploaded mask or the alpha lets in."""

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
