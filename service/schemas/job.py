"""Jobs as clients see them: transfers and matchings, their results, links and pages."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field

from core.params.transfer import TransferParams
from jobs.inputs import InputSize
from jobs.schema import (
    SEED_MAX,
    JobError,
    JobKind,
    JobResult,
    ModelIdentity,
    Output,
    Progress,
    Record,
    Status,
    StoredFile,
    StoredVariant,
)
from jobs.webhooks import WebhookState
from service.schemas.base import ResponseModel


class File(ResponseModel):
    """Something that a job has made."""

    url: str
    """A link that needs no key. Whoever has it can fetch the file until `url_expires_at`, as long as the job exists."""
    url_expires_at: datetime
    content_type: str
    bytes: int
    sha256: str
    """In hex; also the ETag."""


SignFile = Callable[[StoredFile], File]
"""Signs a link. Raises StoreUnavailable and ObjectsUnavailable when that cannot be done."""


class UsedMask(ResponseModel):
    """What took part of one picture."""

    coverage: float
    """Share of the picture, 0 to 1; grey counts by its weight."""
    url: str
    """A grey PNG of the picture's size: white took part."""


class Variant(File):
    """A finished picture, which also lies at `urls.result` with `?seed=`."""

    seed: int
    matches: File
    """Its correspondence map."""
    matches_picture: File

    @classmethod
    def of(cls, stored: StoredVariant, file: SignFile) -> Self:
        return cls(
            **file(stored.image).model_dump(),
            seed=stored.seed,
            matches=file(stored.matches),
            matches_picture=file(stored.matches_picture),
        )


class Result(File):
    """The finished picture, which also lies at `urls.result`."""

    width: int
    """Of the target as it was used: see `inputs`."""
    height: int
    color_profile: Literal["srgb", "target"]
    """Whether the file carries the target's own profile."""
    seed: int
    model: ModelIdentity
    timings: dict[str, float]
    """Milliseconds by phase."""
    matches: File
    """The correspondence map as NumPy's .npz: `positions` [rows, columns, 2], for each token of the target the matched
    place in the reference as (x, y), fractions of its width and height; `similarity` [rows, columns], the cosine of the
    match; `inside` [rows, columns], whether the token lies inside the target's mask; `confidence` [rows, columns], how
    far the match is trusted, 0 to 1; `region` [rows, columns], which region, from 0, has the token: its positions are
    places in that region's reference."""
    matches_picture: File
    """The same for people, PNG: both pictures side by side, what belongs together in one colour."""

    masks: dict[str, UsedMask]
    """The masks that were used, by picture, `target` and `reference`. A picture that took part whole has none."""
    variants: list[Variant]
    """The picture of each seed, in their order. The first is the one above."""

    @classmethod
    def of(cls, result: JobResult, file: SignFile, self_url: str) -> Self:
        masks = {
            name: UsedMask(coverage=mask.coverage, url=f"{self_url}/masks/{name}")
            for name, mask in result.masks.items()
        }
        variants = [Variant.of(stored, file) for stored in result.variants]
        return cls(
            **variants[0].model_dump(),
            **result.model_dump(include={"width", "height", "color_profile", "model", "timings"}),
            masks=masks,
            variants=variants,
        )


class MatchingResult(File):
    """The correspondence map, which also lies at `urls.result`. NumPy's .npz: `positions` [rows, columns, 2], for each
    token of the target the matched place in the reference as (x, y), fractions of its width and height; `similarity`
    [rows, columns], the cosine of the match; `inside` [rows, columns], whether the token lies inside the target's mask;
    `confidence` [rows, columns], how far the match is trusted, 0 to 1; `region` [rows, columns], which region, from
    0, has the token: its positions are places in that region's reference."""

    seed: int
    model: ModelIdentity
    timings: dict[str, float]
    """Milliseconds by phase."""
    picture: File
    """The map for people, PNG: both pictures side by side, what belongs together in one colour."""

    @classmethod
    def of(cls, result: JobResult, file: SignFile) -> Self:
        return cls(
            **file(result.matches).model_dump(),
            **result.model_dump(include={"seed", "model", "timings"}),
            picture=file(result.matches_picture),
        )


class EffectiveParams(TransferParams):
    """All parameters of the transfer, with the defaults that were filled in."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)


class EffectiveOutput(Output):
    """How the finished picture is written."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)


class Urls(ResponseModel):
    """Where to go from here: paths on this server, or full URLs when the operator has set a public address."""

    self: str
    events: str
    """Server-sent events: this record whenever it changes, until the job ends."""
    cancel: str
    """POST here to cancel."""
    result: str
    """What the job has made, once `status` is `succeeded`: a transfer's picture, else the map."""


class TransferUrls(Urls):
    preview: str
    """The latest preview of the running job."""
    matches: str
    """The correspondence map of the finished job."""
    matches_picture: str
    """The same for people."""


class MatchingUrls(Urls):
    picture: str
    """The finished map for people."""


class Job(ResponseModel):
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
    inputs: dict[str, InputSize]
    """Sizes of the input pictures, by part: `target`, `reference` and those that regions name, `picture_NAME`."""
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
    priority: int
    """As given."""
    webhook: WebhookState | None
    batch: str | None
    """Id of the batch that it came with, if any."""
    urls: Urls


class Transfer(Job):
    """One transfer, as it is now."""

    urls: TransferUrls
    seeds: list[int]
    """Of all pictures that it makes; the first is `seed`."""
    output: EffectiveOutput
    result: Result | None
    """Null unless succeeded."""

    @classmethod
    def of(cls, record: Record, base_url: str, file: SignFile) -> Self:
        self = f"{base_url}/v1/transfers/{record.id}"
        urls = {"matches": f"{self}/matches", "matches_picture": f"{self}/matches/picture"}
        return cls(
            **_fields(record),
            seeds=list(record.spec.seeds),
            output=EffectiveOutput(**record.spec.output.model_dump()),
            urls=TransferUrls(**_urls(self), preview=f"{self}/preview", **urls),
            result=Result.of(record.result, file, self) if record.result else None,
        )


class Matching(Job):
    """One job that matches two pictures, as it is now."""

    urls: MatchingUrls
    result: MatchingResult | None
    """Null unless succeeded."""

    @classmethod
    def of(cls, record: Record, base_url: str, file: SignFile) -> Self:
        self = f"{base_url}/v1/matches/{record.id}"
        return cls(
            **_fields(record),
            urls=MatchingUrls(**_urls(self), picture=f"{self}/picture"),
            result=MatchingResult.of(record.result, file) if record.result else None,
        )


def shown_job(record: Record, base_url: str, file: SignFile) -> Transfer | Matching:
    """The record as clients see it, whichever kind it is. Raises what `file` raises."""
    model = Matching if record.spec.kind is JobKind.MATCHES else Transfer
    return model.of(record, base_url, file)


class TransferPage(ResponseModel):
    """Part of the list of transfers, newest first."""

    items: list[Transfer]
    """With a filter a page may hold fewer items than asked for, even none."""
    next: str | None
    """`cursor` of the following page. Null: this was the last."""


class MatchingPage(ResponseModel):
    """Part of the list of matching jobs, newest first."""

    items: list[Matching]
    """With a filter a page may hold fewer items than asked for, even none."""
    next: str | None
    """`cursor` of the following page. Null: this was the last."""


def _fields(record: Record) -> dict[str, Any]:
    """The fields that jobs of every kind have."""
    known = {
        "id",
        "status",
        "progress",
        "queue_position",
        "attempt",
        "error",
        "created_at",
        "started_at",
        "finished_at",
    }
    spec = record.spec
    given = spec.model_dump(include={"seed", "prompt", "negative_prompt", "metadata", "priority", "batch"})
    params = EffectiveParams(**spec.params.model_dump())
    return {
        **record.model_dump(include=known),
        **given,
        "inputs": spec.sizes,
        "params": params,
        "deadline": spec.deadline_s,
        "ttl": spec.ttl_s,
        "webhook": WebhookState(**spec.webhook.model_dump(), deliveries=record.deliveries) if spec.webhook else None,
    }


def _urls(self: str) -> dict[str, str]:
    return {"self": self, "events": f"{self}/events", "cancel": f"{self}/cancel", "result": f"{self}/result"}
