"""Objects that are due for deletion, because their job or asset is over: the work of the garbage collector.

An entry stays in its queue until it is taken out, so work that was begun and not finished is found again.
"""

from typing import Literal

from redis import Redis

from jobs.settings import JobSettings
from jobs.stores.scripts import Scripts

Queue = Literal["expiring", "leftovers", "reserved", "ending"]
"""Names in Redis."""


class CleanupQueue:
    """Every method raises StoreUnavailable when Redis cannot serve."""

    def __init__(self, redis: Redis, settings: JobSettings) -> None:
        self._scripts = Scripts(redis, settings.prefix)

    def expired(self, limit: int) -> list[tuple[str, str]]:
        """(tenant, job id) of jobs whose retention is over and whose objects may still be there."""
        return self._due("expiring", 0, limit)

    def forget_expired(self, tenant: str, job_id: str) -> None:
        """Call it when the objects of an expired job are deleted."""
        self._forget("expiring", tenant, job_id)

    def leftovers(self, age_s: float, limit: int) -> list[tuple[str, str]]:
        """(tenant, job id) of jobs that ended `age_s` ago and may have outputs of unsuccessful attempts."""
        return self._due("leftovers", age_s, limit)

    def forget_leftovers(self, tenant: str, job_id: str) -> None:
        self._forget("leftovers", tenant, job_id)

    def abandoned(self, age_s: float, limit: int) -> list[tuple[str, str]]:
        """(tenant, job id) of reservations that began `age_s` ago and never became a job."""
        return self._due("reserved", age_s, limit)

    def forget_abandoned(self, tenant: str, job_id: str) -> None:
        self._forget("reserved", tenant, job_id)

    def ended_assets(self, limit: int) -> list[tuple[str, str]]:
        """(tenant, asset id/copy id) of assets whose time is over and whose objects may still be there."""
        return self._due("ending", 0, limit)

    def forget_asset(self, tenant: str, asset: str) -> None:
        """Call it when the object of an ended asset is deleted. `asset` is asset id/copy id."""
        self._forget("ending", tenant, asset)

    def _due(self, queue: Queue, age_s: float, limit: int) -> list[tuple[str, str]]:
        answer = self._scripts.call("due", queue, int(age_s * 1000), limit)
        assert isinstance(answer, list)
        pairs = (member.decode().split("/", 1) for member in answer)
        return [(tenant, job_id) for tenant, job_id in pairs]

    def _forget(self, queue: Queue, tenant: str, job_id: str) -> None:
        self._scripts.call("forget", queue, tenant, job_id)
