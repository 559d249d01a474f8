"""The job record: the one truth that users see, and the status machine it obeys.

    queued -> running -> succeeded | failed | canceled
    queued -> canceled | expired
    running -> canceling -> canceled

A running job whose worker died goes back to queued with the next attempt number. Terminal states are final.
"""

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.optional import OptionalModel
from core.params import TransferParams

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
SEED_MAX = 2**63 - 1
Seed = Annotated[int, Field(ge=0, le=SEED_MAX)]
Prompt = Annotated[str, Field(max_length=2000)]


def check_name(what: str, name: str) -> None:
    """Raises ValueError unless `name` can be part of a Redis key and of an object key."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{what} {name!r}: 1 to 64 letters, digits, '-' or '_' expected")


class Status(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    CANCELING = "canceling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        return self in (Status.SUCCEEDED, Status.FAILED, Status.CANCELED, Status.EXPIRED)


class Carried(BaseModel):
    """Base of everything that is stored as JSON: frozen, and unknown fields are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class InputKeys(Carried):
    """Object keys of the checked input pictures (PNG, sRGB, upright, no metadata)."""

    target: str
    reference: str
    target_mask: str | None
    reference_mask: str | None


Seconds = Annotated[int, Field(ge=1, le=31_536_000)]
Metadata = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
]


Event = Literal["queued", "running", "succeeded", "failed", "canceled", "expired"]
"""What a webhook may tell of: the state that a job has come to."""


class Webhook(Carried):
    """Where the events of a job go. Whether this may be reached is decided when they are sent."""

    url: Annotated[str, Field(min_length=1, max_length=2048)]
    """Gets a signed POST for every event."""
    events: Annotated[tuple[Event, ...], Field(min_length=1)] = ("succeeded", "failed", "canceled", "expired")
    """Which events are sent. When absent: the final ones."""


class JobSpec(Carried):
    """What a worker is asked to do. Small: pictures travel by object key."""

    kind: Literal["transfer"]
    inputs: InputKeys
    params: TransferParams
    prompt: Prompt
    negative_prompt: Prompt
    seed: Seed
    metadata: Metadata = {}
    """The client's own words. Nobody reads them here."""
    deadline_s: Seconds | None = None
    """The job expires unless a worker has started it by then, counted from its submission."""
    ttl_s: Seconds | None = None
    """Once over, the job is kept for this long, and never longer than the configured retention."""
    webhook: Webhook | None = None


class Progress(Carried):
    step: int
    """Sampling steps done."""
    steps: int
    """Sampling steps in all; 0 until the first step has been counted."""
    value: float
    """Fraction done, 0 to 1."""


class JobError(Carried):
    code: str
    """Stable, machine-readable reason."""
    message: str
    """One sentence for people. Never a traceback."""


class ModelIdentity(Carried):
    """Which weights made a result."""

    id: str
    """Folder name or hub id of the checkpoint."""
    revision: str
    """Commit on the hub, or a hash over the folder's files."""
    device: str
    dtype: str


class StoredMask(Carried):
    """A mask that a result was made with."""

    key: str
    """Of a grey PNG of its picture's size, white = inside."""
    coverage: float
    """Share of the picture that it lets in, 0 to 1, greys as weights."""


class JobResult(Carried):
    """The finished picture. Written only after the object can be read."""

    width: int
    height: int
    sha256: str
    """SHA-256 of the PNG, in hex."""
    seed: int
    model: ModelIdentity
    timings: dict[str, float]
    """Milliseconds by phase, and `queue` and `total`."""
    image_key: str
    matches_key: str
    masks: dict[str, StoredMask] = {}
    """By the picture's name, `target` or `reference`; one that took part whole has none."""


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Delivery(Carried):
    """One event on its way to a webhook, and how that went."""

    id: str
    """The `webhook-id` that the receiver sees, the same with every attempt."""
    event: str
    status: DeliveryStatus
    """`pending` until the receiver has taken it or the last attempt has failed."""
    attempts: int
    http_status: int | None
    """What the receiver answered last."""
    error: str | None
    """Why the last attempt failed, in a word or two."""
    created_at: datetime
    next_attempt_at: datetime | None
    """Null unless pending."""
    settled_at: datetime | None


class WebhookState(Webhook):
    """The webhook as given, and what became of its events."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    deliveries: tuple[Delivery, ...]
    """In the order of the events."""


class Record(Carried):
    """One job as the store keeps it."""

    id: str
    tenant: str
    status: Status
    attempt: int
    """Number of times that a worker has claimed the job."""
    spec: JobSpec
    progress: Progress
    queue_position: int | None
    """Jobs in front of this one, plus one; only while queued."""
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: JobError | None
    result: JobResult | None
    preview_key: str | None
    deliveries: tuple[Delivery, ...] = ()
    """What became of the events for the job's webhook, in their order."""


class Claim(Carried):
    """A job in the hands of one worker. `attempt` is the fencing token of every later write."""

    record: Record
    attempt: int
    worker_id: str


class Lease(Carried):
    """What a worker learns when it renews its lease."""

    held: bool
    """False: another attempt owns the job, or it is over. Stop, and write nothing more."""
    cancel_requested: bool


class WorkerState(StrEnum):
    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"
    STOPPING = "stopping"


class WorkerPresence(Carried):
    """What a worker says of itself. It vanishes by itself when the worker no longer says it."""

    worker_id: str
    state: WorkerState
    model: ModelIdentity | None
    """Absent until the weights are loaded."""
    held: tuple[OptionalModel, ...] = ()
    """Optional models that were loaded as well."""
    detail: str
    """For people: what the worker is doing, or why it is not ready."""


class Page(Carried):
    """Part of a listing, newest job first."""

    items: list[Record]
    next: str | None
    """Cursor of the following page; absent on the last."""


class ReapReport(Carried):
    """What one round of the reaper did. All zero when another process holds the reaper's lease."""

    requeued: int = 0
    """Jobs with an expired lease that wait again."""
    failed: int = 0
    """Jobs that lost their last attempt."""
    canceled: int = 0
    """Jobs whose worker died after a cancel had been asked for."""
    expired: int = 0
    """Jobs that did not start in time."""
    tickets: int = 0
    """RQ tickets issued in place of lost ones."""
