"""Reservations: an id, and if the client gave one an idempotency key, while the inputs of a job are being stored.

The first submission with a key reserves it. One script creates the job and keeps the first answer under the key, so
whoever comes with the key later, also because an answer was lost, gets that answer and no second job. The reservation
of a process that dies ends after `RESERVATION_S`; what it had stored is left to the garbage collector.
"""

import hashlib
from typing import NamedTuple

from redis import Redis

from jobs.errors import IdempotencyKeyInUse, IdempotencyKeyReused, JobGone, QueueFull, TooManyJobs
from jobs.schema import Record
from jobs.settings import JobSettings
from jobs.stores.records import Snapshot, read_record
from jobs.stores.scripts import Scripts

RETRY_WHEN_FULL_S = 5.0
RESERVATION_S = 15.0
"""A submission that takes longer is refused if another one has reserved the key meanwhile."""


class IdempotencyKey(NamedTuple):
    name: str
    """Becomes part of a Redis key: made by `of`."""
    fingerprint: str
    """Hash of everything that the client asked for."""

    @classmethod
    def of(cls, given: str, fingerprint: str) -> "IdempotencyKey":
        """`given` is what the client sent, of any characters."""
        return cls(hashlib.sha256(given.encode()).hexdigest(), fingerprint)


class Reservations:
    """Every method raises StoreUnavailable when Redis cannot serve."""

    def __init__(self, redis: Redis, settings: JobSettings) -> None:
        self._scripts = Scripts(redis, settings.prefix)

    def reserve(self, job_id: str, *, tenant: str, key: IdempotencyKey | None = None) -> Record | None:
        """Call it before anything is stored under the job's id. Returns the first answer if the key has one; then
        store nothing.

        Raises IdempotencyKeyInUse while another submission with this key goes on, IdempotencyKeyReused when it asked
        for something else, and JobGone when its job has been deleted.
        """
        answer = reserve_id(self._scripts, job_id, tenant, key, RESERVATION_S)
        return None if answer is None else read_record(answer)

    def withdraw(self, job_id: str, *, tenant: str, key: IdempotencyKey | None = None, stored: bool = False) -> None:
        """Gives a reservation up, so that the key can be used again. A submitted job stays as it is.

        With `stored` something may have been left under the job's id: the garbage collector still looks for it.
        """
        self._scripts.call("withdraw", job_id, tenant, key.name if key else "", int(stored))


def reserve_id(
    scripts: Scripts, wanted_id: str, tenant: str, key: IdempotencyKey | None, reservation_s: float
) -> Snapshot | None:
    """As `Reservations.reserve`, for a job or a batch: the first answer, unread."""
    name, fingerprint = key or ("", "")
    answer = scripts.call("reserve", wanted_id, tenant, name, fingerprint, int(reservation_s * 1000))
    assert isinstance(answer, list)
    match answer[0]:
        case b"other":
            raise IdempotencyKeyReused("This key came with another submission before.")
        case b"gone":
            raise JobGone("What came of this submission has been deleted.")
        case b"held":
            raise IdempotencyKeyInUse("A submission with this key is being admitted.")
        case b"answered":
            snapshot: Snapshot = answer[1]
            return snapshot
    return None


def queue_full(answer: bytes, bound: int) -> QueueFull:
    """The error for this answer of a submission script; `bound` is that on waiting jobs."""
    if answer == b"tenant full":
        return TooManyJobs("This tenant has too many unfinished jobs.", retry_after_s=RETRY_WHEN_FULL_S)
    return QueueFull(f"Of jobs that wait there may be {bound}.", retry_after_s=RETRY_WHEN_FULL_S)
