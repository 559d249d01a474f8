"""What the API answers. Fields and words that a newer API adds are kept, not refused."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class Status(StrEnum):
    """Words of `status`. The last four are final."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELING = "canceling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"


class Size(Answer):
    width: int
    """In pixels."""
    height: int


class InputSize(Size):
    """Of an input picture as it was used."""

    scaled_from: Size | None = None
    """Its size as it was sent, when that was more than the service keeps."""


class Progress(Answer):
    step: int
    steps: int
    value: float
    """Fraction done, 0 to 1."""


class JobError(Answer):
    code: str
    message: str


class ModelIdentity(Answer):
    """Which weights made a result."""

    id: str
    revision: str
    device: str
    dtype: str


class Urls(Answer):
    self: str
    events: str
    cancel: str
    result: str


class TransferUrls(Urls):
    preview: str
    matches: str
    matches_picture: str


class File(Answer):
    """Something that a job has made."""

    url: str
    """Needs no key, until `url_expires_at`."""
    url_expires_at: datetime
    content_type: str
    bytes: int
    sha256: str


class MatchingResult(File):
    """What is known of the finished map."""

    seed: int
    model: ModelIdentity
    timings: dict[str, float]
    picture: File


class Variant(File):
    """What is known of the picture of one seed."""

    seed: int
    matches: File
    matches_picture: File


class Result(File):
    """What is known of the finished picture; of several, the first."""

    width: int
    height: int
    color_profile: str = "srgb"
    """`target` when the file carries the target's own profile."""
    matches: File
    matches_picture: File
    seed: int
    model: ModelIdentity
    timings: dict[str, float]
    """Milliseconds by phase."""
    variants: list[Variant] = []
    """The picture of each seed."""


class Followed(Answer):
    """A record that can be followed to its end."""

    finished_at: datetime | None

    @property
    def done(self) -> bool:
        """Nothing more will happen."""
        return self.finished_at is not None


class Job(Followed):
    """What all kinds of jobs have in common."""

    id: str
    status: str
    """One of `Status`, or a word of a newer API."""
    progress: Progress
    queue_position: int | None
    attempt: int
    created_at: datetime
    started_at: datetime | None
    error: JobError | None
    metadata: dict[str, str]
    deadline: int | None
    ttl: int | None
    priority: int
    inputs: dict[str, InputSize] = {}
    """Sizes of the pictures, by part."""
    seed: int
    prompt: str
    negative_prompt: str
    params: dict[str, Any]

    @property
    def succeeded(self) -> bool:
        return self.status == Status.SUCCEEDED


class Transfer(Job):
    """One transfer, as it was when asked."""

    urls: TransferUrls
    seeds: list[int] = []
    """Of all its pictures; the first is `seed`."""
    result: Result | None
    output: dict[str, Any]
    batch: str | None


class Matching(Job):
    """One job that matches two pictures, as it was when asked."""

    urls: Urls
    result: MatchingResult | None


class Asset(Answer):
    """A picture that jobs can name."""

    id: str
    """SHA-256 of the bytes that were uploaded."""
    url: str
    width: int
    height: int
    scaled_from: Size | None = None
    """Its size as it was uploaded, when it was scaled down."""
    created_at: datetime
    expires_at: datetime


class Batch(Followed):
    """One batch, as it was when asked."""

    id: str
    status: str
    total: int
    counts: dict[str, int]
    """Jobs by `Status`."""
    created_at: datetime
    metadata: dict[str, str]


class BatchItem(Answer):
    """One job of a batch."""

    custom_id: str
    id: str
    """Of the transfer."""
    status: str


class BatchResult(Answer):
    custom_id: str
    transfer: Transfer | None
    """None when it is gone."""


class TransferPage(Answer):
    items: list[Transfer]
    next: str | None


class FieldError(Answer):
    """One thing that is wrong with one field, named by a JSON pointer."""

    pointer: str
    code: str
    message: str


class Problem(Answer):
    """RFC 9457 problem details."""

    title: str
    status: int
    detail: str
    code: str
    errors: list[FieldError]
    request_id: str
