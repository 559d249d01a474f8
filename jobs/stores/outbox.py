"""The outbox of webhooks: events that wait to be sent, and how each delivery went.

The script that changes a job's state puts the event here (`jobs/stores/lua/events.lua`), so an event exists if and
only if its state did, whichever process dies. Any number of processes may deliver: each claims an event with a lease,
and one whose lease runs out is claimed again. So a receiver gets every event at least once, always under the same id.
"""

import json
import secrets
from typing import Literal, NamedTuple

from redis import Redis

from jobs.errors import DeliveryNotFound
from jobs.schema import Record, check_name
from jobs.settings import JobSettings
from jobs.stores.records import read_delivery, read_record
from jobs.stores.scripts import Scripts, fields_of
from jobs.webhooks import Delivery

Outcome = Literal["delivered", "retry", "failed", "gone"]
TEST_EVENT = "test"


class ClaimedDelivery(NamedTuple):
    """An event that one process has claimed. `attempt` is the fencing token of its settlement."""

    id: str
    tenant: str
    event: str
    url: str
    attempt: int
    created_ms: int
    """When the state was reached, in milliseconds since 1970."""
    record: Record | None
    """The job as it was then. None for a test."""


class Outbox:
    """Every method raises StoreUnavailable when Redis cannot serve. Safe to share between threads."""

    def __init__(self, redis: Redis, settings: JobSettings) -> None:
        self._scripts = Scripts(redis, settings.prefix)
        self._keep_s = settings.retention_s

    def claim(self, *, lease_s: float, max_attempts: int, at_once_per_tenant: int) -> ClaimedDelivery | None:
        """Takes the next event that is due. None when there is none, or none of a tenant with places left."""
        limits = (int(lease_s * 1000), max_attempts, at_once_per_tenant, self._keep_s)
        answer = self._scripts.call("outbox_claim", *limits)
        if answer is None:
            return None
        fields = fields_of(answer)
        return ClaimedDelivery(
            id=fields["id"],
            tenant=fields["tenant"],
            event=fields["event"],
            url=fields["url"],
            attempt=int(fields["attempts"]),
            created_ms=int(fields["created_at"]),
            record=_read_stored(fields["record"]) if fields["record"] else None,
        )

    def settle(
        self,
        delivery: ClaimedDelivery,
        outcome: Outcome,
        *,
        http_status: int | None = None,
        error: str = "",
        pause_s: float = 0,
    ) -> bool:
        """Writes how the attempt went; with `retry` there is another after `pause_s`. False: another attempt has begun.

        `gone` fails this delivery and all others of the same job, now and later.
        """
        report = (http_status or "", error, int(pause_s * 1000), self._keep_s)
        return self._scripts.call("outbox_settle", delivery.id, delivery.attempt, outcome, *report) is not None

    def post_test(self, tenant: str, url: str) -> str:
        """Puts an event of no job into the outbox; returns its id."""
        check_name("tenant", tenant)
        delivery_id = f"test-{secrets.token_hex(16)}"
        self._scripts.call("outbox_test", delivery_id, tenant, url)
        return delivery_id

    def get(self, delivery_id: str, *, tenant: str) -> Delivery:
        """Raises DeliveryNotFound, also for another tenant's."""
        answer = self._scripts.call("outbox_get", delivery_id, tenant)
        if answer is None:
            raise DeliveryNotFound("There is no such delivery.")
        assert isinstance(answer, bytes)
        return read_delivery(json.loads(answer))


def _read_stored(record: str) -> Record:
    """A snapshot that a script kept as JSON."""
    flat, position = json.loads(record)
    return read_record(([each.encode() for each in flat], position or None))
