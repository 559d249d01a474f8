"""What comes in: a submission as a form with files, or as JSON that names its pictures."""

import re
from typing import Annotated, Any, ClassVar, Self

from fastapi import UploadFile
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError, PydanticKnownError
from starlette.datastructures import UploadFile as ReceivedFile

from core.selection import PictureName
from jobs.named import MASK, MASKS_MAX, PART_PATTERN, PARTS, PICTURE, PICTURES_MAX, by_part
from jobs.schema import JobKind
from service.terms import NeverNull, Painted, Terms, never_null


def _a_file(value: object) -> object:
    if not isinstance(value, ReceivedFile):
        raise PydanticCustomError("file_expected", "A file is expected: a form part with a file name.")
    return value


class NamedPicture(BaseModel):
    """A picture that is somewhere else: exactly one of the two is given."""

    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, json_schema_extra={"minProperties": 1, "maxProperties": 1}
    )

    asset: Annotated[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None, NeverNull] = Field(
        default=None, json_schema_extra=never_null
    )
    """`id` of an asset."""

    url: Annotated[Annotated[str, Field(min_length=1, max_length=2048)] | None, NeverNull] = Field(
        default=None, json_schema_extra=never_null
    )
    """Where the service fetches it, if its operator allows that: `https`, port 443, a public address, no redirect."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.asset is None) == (self.url is None):
            raise PydanticCustomError("one_expected", "Name either an asset or a URL.")
        return self


Upload = Annotated[UploadFile, BeforeValidator(_a_file)]


def _part_name(name: str) -> str:
    """Refuses what is no part of a form at all, and the name of a picture or a mask that is none."""
    if not name.startswith((PICTURE, MASK)):
        raise PydanticKnownError("extra_forbidden")
    if re.fullmatch(PART_PATTERN, name) is None:
        raise PydanticKnownError("string_pattern_mismatch", {"pattern": PART_PATTERN})
    return name


NAMED_PICTURES = "Pictures that regions name."
NAMED_MASKS = "Masks that regions name, each of the size of its picture: white = inside."


def _named_parts(schema: dict[str, Any]) -> None:
    file = {"type": "string", "format": "binary"}
    schema["additionalProperties"] = False
    schema["patternProperties"] = {
        PART_PATTERN.replace("(picture|mask)_", prefix): {**file, "description": f"{text} `NAME` is `{prefix}NAME`."}
        for prefix, text in ((PICTURE, NAMED_PICTURES), (MASK, NAMED_MASKS))
    }


class MatchingForm(Terms):
    """The parts of a submission. A part that is not listed here, or given twice, is refused. What regions name comes as
    `picture_NAME` and `mask_NAME`."""

    model_config = ConfigDict(extra="allow", json_schema_extra=_named_parts)
    __pydantic_extra__: dict[Annotated[str, AfterValidator(_part_name)], Any]
    kind: ClassVar[JobKind] = JobKind.MATCHES

    target: Upload
    """The picture whose parts are looked up in the other, and which a transfer repaints: JPEG, PNG or WebP, one
    frame."""

    reference: Upload
    """The picture in which they are found, and whose appearance a transfer takes: JPEG, PNG or WebP, one frame."""

    target_mask: Upload | None = Field(default=None, json_schema_extra=never_null)
    """What takes part, of the target's size: white = inside. Outside, a transfer keeps the target's pixels exactly."""

    reference_mask: Upload | None = Field(default=None, json_schema_extra=never_null)
    """Where matches may be found, of the reference's size: white = inside."""

    @property
    def parts(self) -> dict[str, Any]:
        """What is given for each part: files, and for those that regions name whatever came."""
        given = ((part, getattr(self, part)) for part in PARTS)
        return {**{part: file for part, file in given if file is not None}, **self.__pydantic_extra__}

    @staticmethod
    def pointer(part: str) -> str:
        return f"/{part}"


class TransferForm(Painted, MatchingForm):
    """The parts of a submission. A part that is not listed here, or given twice, is refused. What regions name comes as
    `picture_NAME` and `mask_NAME`."""

    kind: ClassVar[JobKind] = JobKind.TRANSFER


no_other_names: JsonDict = {"additionalProperties": False}
"""Of a mapping whose keys have a pattern, which for JSON Schema says nothing of other keys."""


def pointer_in_json(part: str) -> str:
    """JSON pointer to a picture: one that regions name is in `pictures` or `masks`."""
    for prefix, field in ((PICTURE, "pictures"), (MASK, "masks")):
        if part.startswith(prefix):
            return f"/{field}/{part.removeprefix(prefix)}"
    return f"/{part}"


class MatchingRequest(Terms):
    """A submission as JSON: its pictures are named, by asset or by URL. A field that is not listed here is refused."""

    kind: ClassVar[JobKind] = JobKind.MATCHES

    target: NamedPicture
    """The picture whose parts are looked up in the other, and which a transfer repaints: JPEG, PNG or WebP, one
    frame."""

    reference: NamedPicture
    """The picture in which they are found, and whose appearance a transfer takes: JPEG, PNG or WebP, one frame."""

    target_mask: Annotated[NamedPicture | None, NeverNull] = Field(default=None, json_schema_extra=never_null)
    """What takes part, of the target's size: white = inside. Outside, a transfer keeps the target's pixels exactly."""

    reference_mask: Annotated[NamedPicture | None, NeverNull] = Field(default=None, json_schema_extra=never_null)
    """Where matches may be found, of the reference's size: white = inside."""

    pictures: Annotated[dict[PictureName, NamedPicture], Field(max_length=PICTURES_MAX)] = Field(
        default_factory=dict, json_schema_extra=no_other_names
    )
    """Pictures that regions name, by these names."""

    masks: Annotated[dict[PictureName, NamedPicture], Field(max_length=MASKS_MAX)] = Field(
        default_factory=dict, json_schema_extra=no_other_names
    )
    """Masks that regions name, by these names, each of the size of its picture: white = inside."""

    @property
    def parts(self) -> dict[str, NamedPicture]:
        """What is named for each part."""
        given = ((part, getattr(self, part)) for part in PARTS)
        return {
            **{part: picture for part, picture in given if picture is not None},
            **by_part(self.pictures, self.masks),
        }

    @staticmethod
    def pointer(part: str) -> str:
        return pointer_in_json(part)


class TransferRequest(Painted, MatchingRequest):
    """A submission as JSON: its pictures are named, by asset or by URL. A field that is not listed here is refused."""

    kind: ClassVar[JobKind] = JobKind.TRANSFER


Submission = MatchingForm | MatchingRequest


class AssetForm(BaseModel):
    """A picture to keep."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    file: Upload
    """JPEG, PNG or WebP, one frame."""
