"""Submissions: as a form with files, or as JSON that names its pictures. A field that is not listed is refused."""

import re
from typing import Annotated, Any, ClassVar, Self

from fastapi import UploadFile
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError, PydanticKnownError
from starlette.datastructures import UploadFile as ReceivedFile

from core.params.selection import PictureName
from core.params.transfer import TransferParams
from jobs.inputs import MASK, MASKS_MAX, PART_PATTERN, PARTS, PICTURE, PICTURES_MAX, by_part
from jobs.schema import SEEDS_MAX, JobKind, Metadata, Output, Priority, Prompt, Seconds, Seed
from jobs.webhooks import Webhook
from service.schemas.strict_json import FormJson, NeverNull, never_null, no_other_names, strictly

# --- the fields besides the pictures --------------------------------------------------------------------------------


class SubmissionFields(BaseModel):
    """The fields of every submission besides its pictures."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    kind: ClassVar[JobKind]

    seed: Annotated[Seed | None, NeverNull] = Field(default=None, json_schema_extra=never_null)
    """Seed of all noise. Absent: a random one, which the record shows."""

    prompt: Prompt = ""
    """What the picture shows, if it helps."""

    negative_prompt: Prompt = ""
    """What to stay away from. Takes effect with classifier-free guidance only."""

    params: Annotated[TransferParams, strictly(TransferParams), AfterValidator(TransferParams.resolved)] = Field(
        default_factory=TransferParams
    )
    """How the job is computed: a JSON object. Absent fields take their defaults."""

    metadata: Annotated[Metadata, FormJson] = Field(default_factory=dict)
    """A JSON object of strings that comes back with the record; at most 16 of up to 512 characters."""

    deadline: Annotated[Seconds | None, NeverNull] = Field(default=None, json_schema_extra=never_null)
    """Seconds. A job that no worker has started by then is `expired`."""

    ttl: Annotated[Seconds | None, NeverNull] = Field(default=None, json_schema_extra=never_null)
    """Seconds. Once over, record and pictures are kept for this long, and never longer than the service keeps them."""

    priority: Priority = 0
    """Among your own waiting jobs the highest goes first."""

    webhook: Annotated[Webhook | None, strictly(Webhook), NeverNull] = Field(default=None, json_schema_extra=never_null)
    """A JSON object: where to send what happens to the job, and which of it."""

    @property
    def asked_seeds(self) -> list[int]:
        """Empty: one is to be drawn."""
        return [] if self.seed is None else [self.seed]

    @property
    def pictures_made(self) -> int:
        return len(self.asked_seeds) or 1


def _distinct(seeds: list[int]) -> list[int]:
    if len(set(seeds)) < len(seeds):
        raise PydanticCustomError("seed_repeated", "A seed is given twice.")
    return seeds


Seeds = Annotated[
    list[Seed],
    Field(min_length=1, max_length=SEEDS_MAX, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_distinct),
]


def one_or_several(seeds: list[int] | None, info: ValidationInfo) -> list[int] | None:
    """Validates `seeds` of a model whose field `seed` comes before."""
    if seeds is not None and info.data.get("seed") is not None:
        raise PydanticCustomError("seed_and_seeds", "Give `seed` or `seeds`.")
    return seeds


class ImageFields(SubmissionFields):
    """The fields of a submission that makes pictures: only a transfer does."""

    seeds: Annotated[Seeds | None, NeverNull, AfterValidator(one_or_several)] = Field(
        default=None, json_schema_extra=never_null
    )
    """In place of `seed`: one picture for each, made in the same run. A form repeats the part."""

    output: Annotated[Output, strictly(Output)] = Output()
    """How the finished picture is written: a JSON object. Absent: PNG."""

    @property
    def asked_seeds(self) -> list[int]:
        return self.seeds or super().asked_seeds


# --- as a form with files -------------------------------------------------------------------------------------------


def _a_file(value: object) -> object:
    if not isinstance(value, ReceivedFile):
        raise PydanticCustomError("file_expected", "A file is expected: a form part with a file name.")
    return value


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


class MatchingForm(SubmissionFields):
    """The parts of a submission. A part that is not listed here, or given twice, is refused. What regions name comes as
    `picture_NAME` and `mask_NAME`."""

    model_config = ConfigDict(extra="allow", json_schema_extra=_named_parts)
    __pydantic_extra__: dict[Annotated[str, AfterValidator(_part_name)], Any]
    kind: ClassVar[JobKind] = JobKind.MATCHES

    target: Upload
    """The picture whose parts are looked up in the other, and which a transfer repaints: JPEG, PNG, WebP,
    AVIF or HEIC, one frame."""

    reference: Upload
    """The picture in which they are found, and whose appearance a transfer takes: JPEG, PNG, WebP, AVIF or
    HEIC, one frame."""

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
        """JSON pointer to the field of a part."""
        return f"/{part}"


class TransferForm(ImageFields, MatchingForm):
    """The parts of a submission. A part that is not listed here, or given twice, is refused. What regions name comes as
    `picture_NAME` and `mask_NAME`."""

    kind: ClassVar[JobKind] = JobKind.TRANSFER


# --- as JSON that names its pictures --------------------------------------------------------------------------------


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


def pointer_in_json(part: str) -> str:
    """JSON pointer to a picture: one that regions name is in `pictures` or `masks`."""
    for prefix, field in ((PICTURE, "pictures"), (MASK, "masks")):
        if part.startswith(prefix):
            return f"/{field}/{part.removeprefix(prefix)}"
    return f"/{part}"


class MatchingRequest(SubmissionFields):
    """A submission as JSON: its pictures are named, by asset or by URL. A field that is not listed here is refused."""

    kind: ClassVar[JobKind] = JobKind.MATCHES

    target: NamedPicture
    """The picture whose parts are looked up in the other, and which a transfer repaints: JPEG, PNG, WebP,
    AVIF or HEIC, one frame."""

    reference: NamedPicture
    """The picture in which they are found, and whose appearance a transfer takes: JPEG, PNG, WebP, AVIF or
    HEIC, one frame."""

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
        """JSON pointer to the field of a part."""
        return pointer_in_json(part)


class TransferRequest(ImageFields, MatchingRequest):
    """A submission as JSON: its pictures are named, by asset or by URL. A field that is not listed here is refused."""

    kind: ClassVar[JobKind] = JobKind.TRANSFER


Submission = MatchingForm | MatchingRequest
