"""The job record, from which everything that users see is made, and its status machine.

    queued -> running -> succeeded | failed | canceled
    queued -> canceled | expired
    running -> canceling -> canceled

A running job whose worker died goes back to queued with the next attempt number. Terminal states are final.
"""

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from core.params.optional_models import OptionalModel
from core.params.transfer import TransferParams
from jobs.base import StoredModel
from jobs.inputs import InputKeys, InputSize
from jobs.webhooks import Delivery, Webhook

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
SEED_MAX = 2**63 - 1
PRIORITY_LIMIT = 1000
Priority = Annotated[int, Field(ge=-PRIORITY_LIMIT, le=PRIORITY_LIMIT)]
Seed = Annotated[int, Field(ge=0, le=SEED_MAX)]
SEEDS_MAX = 8
"""Pictures of one job: they are sampled as one batch of the network."""
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


class JobKind(StrEnum):
    TRANSFER = "transfer"
    MATCHES = "matches"
    """The correspondence between the two pictures, and nothing painted."""


class Output(StoredModel):
    """How the finished picture is written."""

    format: Literal["png", "webp", "jpeg"] = "png"
    """PNG is lossless."""
    quality: Annotated[int, Field(ge=1, le=100)] | None = None
    """Of WebP and JPEG; 90 when absent. PNG has none."""
    background: Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")] | None = None
    """Colour, as `#ffffff`, that takes the place of transparency. Absent: PNG and WebP keep it, and a JPEG of a target
    with transparency is refused."""

    color_profile: Literal["srgb", "target"] = "srgb"
    """`target`: in the RGB space of the target's own profile, such as Display P3, which the file then carries. A target
    without one, or with one of grey, CMYK or tables, gives sRGB."""

    @model_validator(mode="after")
    def _png_has_no_quality(self) -> "Output":
        if self.format == "png" and self.quality is not None:
            raise PydanticCustomError("quality_without_effect", "PNG is lossless and has no quality.")
        return self


Seconds = Annotated[int, Field(ge=1, le=31_536_000)]
Metadata = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
]


class JobSpec(StoredModel):
    """What a worker is asked to do. Small: pictures travel by object key."""

    kind: JobKind
    inputs: InputKeys
    params: TransferParams
    prompt: Prompt
    negative_prompt: Prompt
    seed: Seed
    more_seeds: tuple[Seed, ...] = ()
    """Each makes a further picture in the same run."""
    metadata: Metadata = Field(default_factory=dict)
    """The client's own. Nothing here depends on it."""
    deadline_s: Seconds | None = None
    """The job expires unless a worker has started it by then, counted from its submission."""
    ttl_s: Seconds | None = None
    """Once over, the job is kept for this long, and never longer than the configured retention."""
    priority: Priority = 0
    output: Output = Output()
    webhook: Webhook | None = None
    batch: str | None = None
    """Id of the batch that it came with."""
    sizes: dict[str, InputSize] = Field(default_factory=dict)
    """Of the input pictures, by the names of their parts."""

    @property
    def seeds(self) -> tuple[Seed, ...]:
        """Of all pictures, in their order."""
        return (self.seed, *self.more_seeds)


class Progress(StoredModel):
    step: int
    """Sampling steps done."""
    steps: int
    """Sampling steps in all; 0 until the first step has been counted."""
    value: float
    """Fraction done, 0 to 1."""


class JobError(StoredModel):
    code: str
    """Stable, machine-readable reason."""
    message: str
    """One sentence for people. Never a traceback."""


class ModelIdentity(StoredModel):
    """Which weights made a result."""

    id: str
    """Folder name or hub id of the checkpoint."""
    revision: str
    """Commit on the hub, or a hash over the folder's files."""
    device: str
    dtype: str


class StoredMask(StoredModel):
    """A mask that a result was made with."""

    key: str
    """Of a grey PNG of its picture's size, white = inside."""
    coverage: float
    """Share of the picture that it lets in, 0 to 1, greys as weights."""


class StoredFile(StoredModel):
    """An object that a job has made."""

    key: str
    content_type: str
    bytes: int
    sha256: str
    """In hex."""


class StoredVariant(StoredModel):
    """What a further seed has made in the same run."""

    seed: int
    image: StoredFile
    matches: StoredFile
    matches_picture: StoredFile


class JobResult(StoredModel):
    """What a job has made. Written only after all of it can be read."""

    width: int
    """Of the target as it was used, and so of the picture, in pixels."""
    height: int
    color_profile: Literal["srgb", "target"] = "srgb"
    """Of the picture."""
    seed: int
    model: ModelIdentity
    timings: dict[str, float]
    """Milliseconds by phase, and `queue` and `total`."""
    image: StoredFile | None
    """The finished picture; none where only matches were asked for."""
    matches: StoredFile
    """The correspondence map, as NumPy's .npz."""
    matches_picture: StoredFile
    """The same for people, as PNG."""

    masks: dict[str, StoredMask] = Field(default_factory=dict)
    """By the picture's name, `target` or `reference`; one that took part whole has none."""
    more: tuple[StoredVariant, ...] = ()
    """Of the further seeds, in their order."""

    @property
    def variants(self) -> tuple[StoredVariant, ...]:
        """Of all seeds, in their order; none where only matches were asked for."""
        if self.image is None:
            return ()
        first = {"image": self.image, "matches": self.matches, "matches_picture": self.matches_picture}
        return (StoredVariant(seed=self.seed, **first), *self.more)

    @property
    def files(self) -> tuple[StoredFile, ...]:
        if self.image is None:
            return self.matches, self.matches_picture
        return tuple(file for each in self.variants for file in (each.image, each.matches, each.matches_picture))

    @property
    def keys(self) -> frozenset[str]:
        """Of all objects that make up the result."""
        return frozenset([*(file.key for file in self.files), *(mask.key for mask in self.masks.values())])


class Record(StoredModel):
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


class Claim(StoredModel):
    """A job that one worker has claimed. `attempt` is the fencing token of every later write."""

    record: Record
    attempt: int
    worker_id: str


class Lease(StoredModel):
    """What a worker is answered when it renews its lease."""

    held: bool
    """False: another attempt owns the job, or it is over. Stop, and write nothing more."""
    cancel_requested: bool


class WorkerState(StrEnum):
    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"
    STOPPING = "stopping"


class WorkerReport(StoredModel):
    """What a worker reports of itself. It expires unless the worker reports again."""

    worker_id: str
    state: WorkerState
    model: ModelIdentity | None
    """Absent until the weights are loaded."""
    optional_models: tuple[OptionalModel, ...] = ()
    """Those that are loaded as well."""
    detail: str
    """For people: what the worker is doing, or why it is not ready."""


class Page(StoredModel):
    """Part of a listing, newest job first."""

    items: list[Record]
    next: str | None
    """Cursor of the following page; absent on the last."""


class ReapReport(StoredModel):
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
