"""A thread that renews the lease on a claimed job for as long as the job moves.

It renews only while the last progress mark, a step or a phase, is younger than the stall limit. So a hung step
loses its job, although the process lives.
"""

import threading
import time
from types import TracebackType
from typing import Self

import structlog

from jobs.errors import StoreUnavailable
from jobs.schema import Claim, Lease
from jobs.stores.job_store import JobStore
from worker.supervisor_pipe import SupervisorPipe

log = structlog.get_logger()


class LeaseKeeper:
    """Context manager around the work on one claim. `mark` from the working thread; read the flags anywhere."""

    def __init__(self, store: JobStore, claim: Claim, pipe: SupervisorPipe, *, lease_s: float, stall_s: float) -> None:
        self._store = store
        self._claim = claim
        self._pipe = pipe
        self._every_s = lease_s / 3
        self._retry_s = min(0.5, lease_s / 10)
        self._stall_s = stall_s
        self._marked_at = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self.lost = False
        """Another attempt owns the job, or it is over: write nothing more."""
        self.cancel_requested = False

    def mark(self) -> None:
        """The job has moved."""
        self._marked_at = time.monotonic()

    def update(self, lease: Lease) -> None:
        """Takes over the state of the lease, which the store returns for every write on behalf of the claim."""
        self.cancel_requested |= lease.cancel_requested
        self.lost |= not lease.held

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        stalled = False
        pause_s = 0.0
        while not self._over.wait(pause_s) and not self.lost:
            pause_s = self._every_s
            if stalled != (time.monotonic() - self._marked_at > self._stall_s):
                stalled = not stalled
                log.warning("lease.stalled" if stalled else "lease.resumed", job_id=self._claim.record.id)
            if stalled:
                continue
            self._pipe.beat()
            try:
                self.update(self._store.renew(self._claim))
            except StoreUnavailable:
                pause_s = self._retry_s
        if self.lost:
            log.warning("lease.lost", job_id=self._claim.record.id, attempt=self._claim.attempt)
