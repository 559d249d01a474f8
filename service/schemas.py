"""What the API takes and gives. Models of answers have no defaults: every field is always there."""

import json
from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import UploadFile
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError
from starlette.datastructures import UploadFile as ReceivedFile

from core.params import TransferParams
from jobs.schema import (
    SEED_MAX,
    JobError,
    JobResult,
    Metadata,
    ModelIdentity,
    Progress,
    Prompt,
    Record,
    Seconds,
    Seed,
    Status,
    Webhook,
    WebhookState,
)

# --- what comes in ---------------------------------------------------------------------------------------


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


def _read_webhook(value: object) -> object:
    return _read_object(value) if isinstance(value, str) else value


def never_null(schema: dict[str, Any]) -> None:
    """A form and a query cannot carry null: absent is absent."""
    schema.pop("default", None)
    schema.update(schema.pop("anyOf")[0])


Upload = Annotated[UploadFile, BeforeValidator(_a_file)]


class TransferForm(BaseModel):
    """The parts of a submission. A part that is not listed here, or given twice, is refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    target: Upload
    """The picture that keeps its structure: JPEG, PNG or WebP, one frame."""

    reference: Upload
    """The picture whose appearance is taken: JPEG, PNG or WebP, one frame."""

    target_mask: Upload | None = Field(default=None, json_schema_extra=never_null)
    """What to repaint, of the target's size: white = inside. Outside, the target's pixels stay exactly."""

    reference_mask: Upload | None = Field(default=None, json_schema_extra=never_null)
    """Where appearance may be taken from, of the reference's size: white = inside."""

    seed: Seed | None = Field(default=None, json_schema_extra=never_null)
    """Seed of all noise. Absent: a random one, which the answer tells."""

    prompt: Prompt = ""
    """What the picture shows, if it helps."""

    negative_prompt: Prompt = ""
    """What to stay away from. Takes effect with classifier-free guidance only."""

    params: Annotated[TransferParams, BeforeValidator(_read_params)] = Field(default_factory=TransferParams)
    """How the transfer is computed: a JSON object. Absent fields take their defaults."""

    metadata: Annotated[Metadata, BeforeValidator(_read_metadata)] = Field(default_factory=dict)
    """A JSON object of strings that comes back with the record; at most 16 of up to 512 characters."""

    deadline: Seconds | None = Field(default=None, json_schema_extra=never_null)
    """Seconds. A job that no worker has started by then is `expired`."""

    ttl: Seconds | None = Field(default=None, json_schema_extra=never_null)
    """Seconds. Once over, record and pictures are kept for this long, and never longer than the service keeps them."""

    webhook: Annotated[Webhook | None, BeforeValidator(_read_webhook)] = Field(
        default=None, json_schema_extra=never_null
    )
    """A JSON object: where to send what happens to the job, and which of it."""


# --- what goes out ---------------------------------------------------------------------------------------


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class EffectiveParams(TransferParams):
    """All parameters of the transfer, with the defaults that were filled in."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)


class Urls(Answer):
    """Where to go from here: paths on this server, or full URLs when the operator has set a public address."""

    self: str
    events: str
    """Server-sent events: this record whenever it changes, until the job ends."""
    cancel: str
    """POST here to cancel."""
    result: str
    """The finished picture, once `status` is `succeeded`."""
    preview: str
    """The latest preview of the running job."""


class UsedMask(Answer):
    """What took part of one picture."""

    coverage: float
    """Share of the picture, 0 to 1; grey counts by its weight."""
    url: str
    """A grey PNG of the picture's size: white took part."""


class Result(Answer):
    """What is known of the finished picture, which lies at `urls.result`."""

    width: int
    height: int
    sha256: str
    """SHA-256 of the PNG, in hex; also its ETag."""
    seed: int
    model: ModelIdentity
    timings: dict[str, float]
    """Milliseconds by phase."""
    masks: dict[str, UsedMask]
    """The masks that were used, by picture, `target` and `reference`. A picture that took part whole has none."""


class Transfer(Answer):
    """One job, as it is now."""

    id: str
    status: Status
    """`succeeded`, `failed`, `canceled` and `expired` are final."""
    progress: Progress
    queue_position: int | None
    """1 is next in line. Null unless queued."""
    attempt: int
    """How often a worker has started the job. More than 1 means that a worker was lost."""
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: JobError | None
    """Why the job failed. Null unless failed."""
    urls: Urls
    result: Result | None
    """Null unless succeeded."""
    seed: Annotated[int, Field(ge=0, le=SEED_MAX)]
    prompt: str
    negative_prompt: str
    params: EffectiveParams
    metadata: dict[str, str]
    """As given."""
    deadline: int | None
    """As given: seconds from `created_at` within which the job has to start."""
    ttl: int | None
    """As given: seconds from `finished_at` after which the job is gone, if the service keeps it that long."""
    webhook: WebhookState | None

    @classmethod
    def of(cls, record: Record, public_url: str | None) -> Self:
        spec, result = record.spec, record.result
        return cls(
            **record.model_dump(
                include={"id", "status", "queue_position", "attempt", "created_at", "started_at", "finished_at"}
            ),
            progress=record.progress,
            error=record.error,
            urls=urls_of(record.id, public_url),
            result=None if result is None else result_of(record.id, result, public_url),
            seed=spec.seed,
            prompt=spec.prompt,
            negative_prompt=spec.negative_prompt,
            params=EffectiveParams(**spec.params.model_dump()),
            metadata=spec.metadata,
            deadline=spec.deadline_s,
            ttl=spec.ttl_s,
            webhook=WebhookState(**spec.webhook.model_dump(), deliveries=record.deliveries) if spec.webhook else None,
        )


def result_of(job_id: str, result: JobResult, public_url: str | None) -> Result:
    where = job_url(job_id, public_url)
    masks = {name: UsedMask(coverage=mask.coverage, url=f"{where}/masks/{name}") for name, mask in result.masks.items()}
    return Result(**result.model_dump(exclude={"image_key", "matches_key", "masks"}), masks=masks)


def job_url(job_id: str, public_url: str | None) -> str:
    return f"{(public_url or '').rstrip('/')}/v1/transfers/{job_id}"


def urls_of(job_id: str, public_url: str | None) -> Urls:
    self = job_url(job_id, public_url)
    return Urls(
        self=self,
        events=f"{self}/events",
        cancel=f"{self}/cancel",
        result=f"{self}/result",
        preview=f"{self}/preview",
    )


class TransferPage(Answer):
    """Part of the list of jobs, newest first."""

    items: list[Transfer]
    """With a filter a page may hold fewer items than asked for, even none."""
    next: str | None
    """`cursor` of the following page. Null: this was the last."""


class FieldError(Answer):
    """One thing that is wrong with one field."""

    pointer: str
    """JSON pointer (RFC 6901) to the field, `/params/…` for one inside `params`, `/query/…` for the query."""
    code: str
    message: str


class ProblemDetails(Answer):
    """RFC 9457 problem details."""

    type: str
    """`urn:plumage:problem:` and the code."""
    title: str
    status: int
    detail: str
    instance: str
    """Path of the request."""
    code: str
    """Stable, for programs."""
    errors: list[FieldError]
    """Field by field, where that makes sense."""
    request_id: str
    """Name this when asking for help; it is also the answer's X-Request-ID."""
