"""Jobs that are submitted together: queued all or none, looked at, canceled and deleted as one.

The inputs of a batch lie under its own id, once for however many of its jobs use them. The batch ends with the last of
its jobs and is kept for as long as that one, so no job of it outlives its inputs.
"""

import json
import time
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from redis import Redis

from jobs.base import StoredModel
from jobs.errors import BatchGone, BatchNotFound, IdempotencyKeyInUse, InvalidTransition, StoreUnavailable
from jobs.schema import JobSpec, Metadata, Status, check_name
from jobs.settings import JobSettings
from jobs.stores.idempotency import IdempotencyKey, queue_full, reserve_id
from jobs.stores.scripts import Scripts, fields_of, to_datetime
from jobs.stores.ticket_queue import TicketQueue

BATCH_MAX = 1000
TICKETS_AT_ONCE = 32
"""Enough to wake the workers; the reaper issues the rest."""
PAUSES_S = (0.5, 1.0, 2.0, 4.0)
RESERVATION_S = 120.0
"""Longer than that of a single job, because the inputs of a batch take longer to store."""


class Member(StoredModel):
    """One job of a batch."""

    custom_id: str
    """The client's own name for it."""
    job_id: str
    status: Status


class Batch(StoredModel):
    """A batch as the store keeps it."""

    id: str
    tenant: str
    members: tuple[Member, ...]
    """In the order in which they were given."""
    metadata: Metadata
    created_at: datetime
    finished_at: datetime | None
    """When the last of its jobs ended."""


class BatchPage(StoredModel):
    """Part of a listing, newest batch first."""

    items: list[Batch]
    next: str | None
    """Cursor of the following page; absent on the last."""


class PlannedJob(NamedTuple):
    """A job that a batch is to have."""

    custom_id: str
    job_id: str
    spec: JobSpec


class Batches:
    """Every method raises StoreUnavailable when Redis cannot serve. Safe to share between threads."""

    def __init__(self, redis: Redis, settings: JobSettings) -> None:
        self._scripts = Scripts(redis, settings.prefix)
        self._tickets = TicketQueue(redis, settings.prefix)
        self._settings = settings

    def reserve(self, batch_id: str, *, tenant: str, key: IdempotencyKey | None = None) -> Batch | None:
        """As `Reservations.reserve`, for a batch."""
        answer = reserve_id(self._scripts, batch_id, tenant, key, RESERVATION_S)
        return None if answer is None else _read(answer)

    def submit(
        self,
        jobs: Sequence[PlannedJob],
        *,
        batch_id: str,
        tenant: str,
        metadata: Metadata,
        key: IdempotencyKey | None = None,
    ) -> Batch:
        """Queues all of the jobs, which agree in kind, priority, deadline and ttl. The same batch again is the one that
        is there.

        Raises QueueFull or TooManyJobs, and then none is queued; IdempotencyKeyInUse as `JobStore.submit`.
        """
        check_name("batch id", batch_id)
        check_name("tenant", tenant)
        first, settings = jobs[0].spec, self._settings
        answer = self._submit(
            *(batch_id, tenant, first.priority, first.kind),
            *(settings.max_queued, settings.max_active_per_tenant or 0),
            *(key.name if key else "", settings.idempotency_s),
            *(first.deadline_s or 0, first.ttl_s or 0, json.dumps(metadata)),
            *(part for job in jobs for part in (job.custom_id, job.job_id, job.spec.model_dump_json())),
        )
        assert isinstance(answer, list)
        if answer[0] in (b"full", b"tenant full"):
            raise queue_full(answer[0], settings.max_queued)
        if answer[0] == b"superseded":
            raise IdempotencyKeyInUse("Another submission took this key meanwhile.")
        if answer[0] == b"created":
            self._tickets.wake_workers(min(len(jobs), TICKETS_AT_ONCE))
        return _read(answer[1])

    def get(self, batch_id: str, *, tenant: str) -> Batch:
        """Raises BatchNotFound, also for another tenant's, and BatchGone."""
        return _found(self._scripts.call("batch_get", batch_id, tenant))

    def list_batches(self, *, tenant: str, limit: int, cursor: str | None = None) -> BatchPage:
        """Newest first. `cursor` is the `next` of the page before, digits only."""
        answer = self._scripts.call("batch_list", tenant, f"({cursor}" if cursor else "+inf", limit)
        assert isinstance(answer, list)
        last, snapshots = answer
        return BatchPage(items=[_read(snapshot) for snapshot in snapshots], next=last.decode() if last else None)

    def cancel(self, batch_id: str, *, tenant: str) -> Batch:
        """As `JobStore.request_cancel`, of each of its jobs. Raises BatchNotFound and BatchGone."""
        return _found(self._scripts.call("batch_cancel", batch_id, tenant, *self._settings.retention_args))

    def delete(self, batch_id: str, *, tenant: str) -> None:
        """Forgets the batch and its jobs; their objects are the garbage collector's.

        Raises InvalidTransition while a worker has one of them, BatchNotFound and BatchGone.
        """
        answer = self._scripts.call("batch_delete", batch_id, tenant, *self._settings.retention_args)
        if answer == b"running":
            raise InvalidTransition("A worker has a job of this batch; cancel it first.")
        if answer != b"deleted":
            _found(answer)

    def _submit(self, *arguments: str | int) -> object:
        """Repeats the call while no answer comes: the script may take longer than a client waits."""
        for pause_s in PAUSES_S:
            try:
                return self._scripts.call("batch_submit", *arguments)
            except StoreUnavailable:
                time.sleep(pause_s)
        return self._scripts.call("batch_submit", *arguments)


def _found(answer: object) -> Batch:
    if answer == b"gone":
        raise BatchGone("This batch is past its retention, or was deleted.")
    if answer is None:
        raise BatchNotFound("There is no such batch.")
    assert isinstance(answer, list)
    return _read(answer)


def _read(snapshot: Sequence[object]) -> Batch:
    flat, statuses = snapshot
    assert isinstance(statuses, list)
    fields = fields_of(flat)
    members = zip(json.loads(fields["items"]), statuses, strict=True)
    return Batch(
        id=fields["id"],
        tenant=fields["tenant"],
        members=tuple(
            Member(custom_id=custom_id, job_id=job_id, status=Status(status.decode()))
            for (custom_id, job_id), status in members
        ),
        metadata=json.loads(fields["metadata"]),
        created_at=to_datetime(fields["created_at"]),
        finished_at=to_datetime(fields["finished_at"]) if "finished_at" in fields else None,
    )
