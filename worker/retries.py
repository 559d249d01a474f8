"""Repeats an access to Redis or to the object store while that store is away."""

import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from jobs.errors import ObjectsUnavailable, StoreUnavailable
from worker.lease import LeaseKeeper

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 1.0

T = TypeVar("T")
log = structlog.get_logger()


class StoreRetries:
    """Tries again until `patience_s` seconds after the last `restart`, with growing pauses."""

    def __init__(self, lease: LeaseKeeper, patience_s: float) -> None:
        self._lease = lease
        self._patience_s = patience_s
        self.restart()

    def restart(self) -> None:
        """Gives the accesses that follow the whole time."""
        self._deadline = time.monotonic() + self._patience_s

    def __call__(self, access: Callable[[], T]) -> T:
        """The value of `access`; at the deadline raises its StoreUnavailable or ObjectsUnavailable.

        Each try counts as progress of the job. A lost lease does not end the tries: it may be lost because a commit
        took effect and only the reply to it went missing.
        """
        pause_s = _FIRST_PAUSE_S
        while True:
            self._lease.mark()
            try:
                return access()
            except (StoreUnavailable, ObjectsUnavailable) as error:
                if time.monotonic() + pause_s > self._deadline:
                    raise
                log.warning("job.waiting", reason=error.code)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
