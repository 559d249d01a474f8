"""Deletes the objects that no record needs: those of expired jobs and assets, and what unsuccessful attempts left."""

import structlog

from jobs.errors import JobGone, JobNotFound
from jobs.objects import ObjectStore, all_prefixes, asset_key, input_prefix, output_prefixes
from jobs.stores.redis_stores import RedisStores

# A worker that lost its job may write for a moment longer; then it removes its objects itself, or has died.
LEFTOVER_AGE_S = 60.0
# No submission takes this long: what is reserved and not queued by then has been given up.
ABANDONED_AGE_S = 3600.0
log = structlog.get_logger()


class GarbageCollector:
    """Takes its work from the cleanup queue, where it stays until it is done: so it may be killed at any time, and run
    in any process."""

    def __init__(
        self,
        stores: RedisStores,
        objects: ObjectStore,
        *,
        leftover_age_s: float = LEFTOVER_AGE_S,
        abandoned_age_s: float = ABANDONED_AGE_S,
    ) -> None:
        self._stores = stores
        self._objects = objects
        self._leftover_age_s = leftover_age_s
        self._abandoned_age_s = abandoned_age_s

    def collect(self, limit: int = 100) -> int:
        """Returns how many objects it deleted. Raises StoreUnavailable and ObjectsUnavailable."""
        queue, deleted = self._stores.cleanup_queue, 0
        for tenant, job_id in queue.leftovers(self._leftover_age_s, limit):
            deleted += self._clean(tenant, job_id)
            queue.forget_leftovers(tenant, job_id)
        for tenant, job_id in queue.abandoned(self._abandoned_age_s, limit):
            deleted += self._objects.delete_prefix(input_prefix(tenant, job_id))
            queue.forget_abandoned(tenant, job_id)
        for tenant, job_id in queue.expired(limit):
            for prefix in all_prefixes(tenant, job_id):
                deleted += self._objects.delete_prefix(prefix)
            queue.forget_expired(tenant, job_id)
        for tenant, asset in queue.ended_assets(limit):
            self._objects.delete(asset_key(tenant, *asset.split("/")))
            queue.forget_asset(tenant, asset)
            deleted += 1
        if deleted:
            log.info("objects.collected", count=deleted)
        return deleted

    def _clean(self, tenant: str, job_id: str) -> int:
        """All outputs of a terminal job but the committed ones. Of one that is gone, all."""
        try:
            result = self._stores.jobs.get(job_id, tenant=tenant).result
        except (JobNotFound, JobGone):
            result = None
        kept = result.keys if result else frozenset()
        deleted = 0
        for prefix in output_prefixes(tenant, job_id):
            for key in self._objects.keys(prefix):
                if key not in kept:
                    self._objects.delete(key)
                    deleted += 1
        return deleted
