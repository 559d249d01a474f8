"""What comes in: the parts of a submission, strictly read."""

import json
from typing import Annotated, Any, ClassVar

from fastapi import UploadFile
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError
from starlette.datastructures import UploadFile as ReceivedFile

from core.params import TransferParams
from jobs.schema import JobKind, Metadata, Output, Priority, Prompt, Seconds, Seed
from jobs.webhooks import Webhook


def _a_file(value: object) -> object:
    if not isinstance(value, ReceivedFile):
        raise PydanticCustomError("file_expected", "A file is expected: a form part with a file name.")
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            shown = json.dumps(name)  # ASCII: a lone surrogate could not be sent back
            raise PydanticCustomError("duplicate_key", "{name} is given twice.", {"name": shown})
        found[name] = value
    return found


def _no_constants(name: str) -> float:
    raise PydanticCustomError("json_invalid", "{name} is no JSON number.", {"name": name})


def _read_object(value: str) -> dict[str, Any]:
    """JSON in the strict sense: no NaN, and no key twice."""
    try:
        found = json.loads(value, object_pairs_hook=_no_duplicates, parse_constant=_no_constants)
    except (ValueError, RecursionError) as error:
        if isinstance(error, PydanticCustomError):
            raise
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "too large or too deep"
        raise PydanticCustomError("json_invalid", "Not valid JSON: {reason}.", {"reason": reason}) from error
    if not isinstance(found, dict):
        raise PydanticCustomError("json_object_expected", "A JSON object is expected.")
    return found


def _read_metadata(value: object) -> object:
    return _read_object(value) if isinstance(value, str) else value


def _read_params(value: object) -> object:
    """Also no string where a number belongs."""
    if not isinstance(value, str):
        return value
    _read_object(value)
    return TransferParams.model_validate_json(value, strict=True)


def _read_output(value: object) -> object:
    if not isinstance(value, str):
        return value
    _read_object(value)
    return Output.model_validate_json(value, strict=True)


def _read_webhook(value: object) -> object:
    return _read_object(value) if isinstance(value, str) else value


def never_null(schema: dict[str, Any]) -> None:
    """A form and a query cannot carry null: absent is absent."""
    schema.pop("default", None)
    schema.update(schema.pop("anyOf")[0])


Upload = Annotated[UploadFile, BeforeValidator(_a_file)]


class MatchingForm(BaseModel):
    """The parts of a submission. A part that is not listed here, or given twice, is refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
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

    seed: Seed | None = Field(default=None, json_schema_extra=never_null)
    """Seed of all noise. Absent: a random one, which the answer tells."""

    prompt: Prompt = ""
    """What the picture shows, if it helps."""

    negative_prompt: Prompt = ""
    """What to stay away from. Takes effect with classifier-free guidance only."""

    params: Annotated[TransferParams, BeforeValidator(_read_params)] = Field(default_factory=TransferParams)
    """How the job is computed: a JSON object. Absent fields take their defaults."""

    metadata: Annotated[Metadata, BeforeValidator(_read_metadata)] = Field(default_factory=dict)
    """A JSON object of strings that comes back with the record; at most 16 of up to 512 characters."""

    deadline: Seconds | None = Field(default=None, json_schema_extra=never_null)
    """Seconds. A job that no worker has started by then is `expired`."""

    ttl: Seconds | None = Field(default=None, json_schema_extra=never_null)
    """Seconds. Once over, record and pictures are kept for this long, and never longer than the service keeps them."""

    priority: Priority = 0
    """Among your own waiting jobs the highest goes first."""

    webhook: Annotated[Webhook | None, BeforeValidator(_read_webhook)] = Field(
        default=None, json_schema_extra=never_null
    )
    """A JSON object: where to send what happens to the job, and which of it."""


class TransferForm(MatchingForm):
    """The parts of a submission. A part that is not listed here, or given twice, is refused."""

    kind: ClassVar[JobKind] = JobKind.TRANSFER

    output: Annotated[Output, BeforeValidator(_read_output)] = Output()
    """How the finished picture is written: a JSON object. Absent: PNG."""
