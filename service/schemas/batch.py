"""Batches as clients see them: their counts, items and results."""

from collections import Counter
from datetime import datetime
from typing import Literal, Self

from jobs.schema import Metadata, Status
from jobs.stores.batches import Batch as StoredBatch
from jobs.stores.batches import Member
from service.schemas.base import ResponseModel
from service.schemas.job import Transfer


class BatchUrls(ResponseModel):
    """Where to go from here: paths on this server, or full URLs when the operator has set a public address."""

    self: str
    items: str
    """The state of each job."""
    results: str
    """JSON Lines: one record for each job that is over."""
    events: str
    """A stream of server-sent events, each with the whole record of the batch."""
    cancel: str
    """POST here to cancel all jobs that are not over."""


class Counts(ResponseModel):
    """How many jobs of the batch are in each state."""

    queued: int
    running: int
    canceling: int
    succeeded: int
    failed: int
    canceled: int
    expired: int


class Batch(ResponseModel):
    """One batch, as it is now."""

    id: str
    status: Literal["running", "ended"]
    """`ended` when all of its jobs are over."""
    total: int
    counts: Counts
    created_at: datetime
    finished_at: datetime | None
    """When the last of its jobs ended."""
    metadata: Metadata
    """As given."""
    urls: BatchUrls

    @classmethod
    def of(cls, batch: StoredBatch, base_url: str) -> Self:
        self = f"{base_url}/v1/batches/{batch.id}"
        count = Counter(member.status for member in batch.members)
        return cls(
            **batch.model_dump(include={"id", "created_at", "finished_at", "metadata"}),
            status="ended" if batch.finished_at else "running",
            total=len(batch.members),
            counts=Counts(**{status.value: count[status] for status in Status}),
            urls=BatchUrls(self=self, **{name: f"{self}/{name}" for name in ("items", "results", "events", "cancel")}),
        )


class BatchItem(ResponseModel):
    """One job of a batch."""

    custom_id: str
    id: str
    """Of the transfer."""
    status: Status
    url: str
    """The transfer's record."""

    @classmethod
    def of(cls, member: Member, base_url: str) -> Self:
        url = f"{base_url}/v1/transfers/{member.job_id}"
        return cls(custom_id=member.custom_id, id=member.job_id, status=member.status, url=url)


class BatchItems(ResponseModel):
    """Part of the list of a batch's jobs, in the order in which they were given."""

    items: list[BatchItem]
    next: str | None
    """`cursor` of the following page. Null: this was the last."""


class BatchPage(ResponseModel):
    """Part of the list of batches, newest first."""

    items: list[Batch]
    next: str | None
    """`cursor` of the following page. Null: this was the last."""


class BatchResult(ResponseModel):
    """One line of a batch's results."""

    custom_id: str
    transfer: Transfer | None
    """Its record, with links. Null when it was deleted, or is past its own `ttl`."""
