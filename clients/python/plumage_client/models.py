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


FINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELED, Status.EXPIRED})


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
    preview: str


class Result(Answer):
    """What is known of the finished picture."""

    width: int
    height: int
    sha256: str
    seed: int
    model: ModelIdentity
    timings: dict[str, float]
    """Milliseconds by phase."""


class Job(Answer):
    """What all kinds of jobs have in common."""

    id: str
    status: str
    """One of `Status`, or a word of a newer API."""
    progress: Progress
    queue_position: int | None
    attempt: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: JobError | None
    metadata: dict[str, str]
    deadline: int | None
    ttl: int | None

    @property
    def done(self) -> bool:
        """Nothing more will happen."""
        return self.status in FINAL

    @property
    def succeeded(self) -> bool:
        return self.status == Status.SUCCEEDED


class Transfer(Job):
    """One transfer, as it was when asked."""

    urls: Urls
    result: Result | None
    seed: int
    prompt: str
    negative_prompt: str
    params: dict[str, Any]


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
