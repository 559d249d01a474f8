"""All stores of one Redis, opened together: for a process that needs more than one of them."""

from dataclasses import dataclass
from typing import Self

from redis import Redis

from jobs.settings import JobSettings
from jobs.stores.api_keys import ApiKeys
from jobs.stores.assets import Assets
from jobs.stores.batches import Batches
from jobs.stores.cleanup_queue import CleanupQueue
from jobs.stores.idempotency import Reservations
from jobs.stores.job_store import JobStore
from jobs.stores.outbox import Outbox
from jobs.stores.shared_secrets import SharedSecrets
from jobs.stores.webhook_secrets import WebhookSecrets


@dataclass(frozen=True, slots=True)
class RedisStores:
    """Every method of each raises StoreUnavailable when Redis cannot serve. Safe to share between threads."""

    jobs: JobStore
    batches: Batches
    reservations: Reservations
    """Ids, and idempotency keys, of what is being submitted."""
    assets: Assets
    outbox: Outbox
    """Events for webhooks."""
    webhook_secrets: WebhookSecrets
    api_keys: ApiKeys
    shared_secrets: SharedSecrets
    cleanup_queue: CleanupQueue
    """Objects that are due for deletion."""

    @classmethod
    def open(cls, redis: Redis, settings: JobSettings) -> Self:
        """Nothing is sent before the first call of a method."""
        return cls(
            jobs=JobStore(redis, settings),
            batches=Batches(redis, settings),
            reservations=Reservations(redis, settings),
            assets=Assets(redis, settings),
            outbox=Outbox(redis, settings),
            webhook_secrets=WebhookSecrets(redis, settings),
            api_keys=ApiKeys(redis, settings),
            shared_secrets=SharedSecrets(redis, settings),
            cleanup_queue=CleanupQueue(redis, settings),
        )
