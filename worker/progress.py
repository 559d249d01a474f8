"""What happens between two steps of a running job: it may be stopped, and its progress is written."""

import queue
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import Self

import structlog
from torch import Tensor

from jobs.errors import ObjectsUnavailable, StoreUnavailable
from jobs.objects import ObjectStore, preview_key
from jobs.schema import Claim
from jobs.stores.job_store import JobStore
from worker.lease import LeaseKeeper
from worker.pictures import encode_preview
from worker.shutdown import Shutdown

WRITE_EVERY_S = 0.25

log = structlog.get_logger()


class StopReason(StrEnum):
    LEASE_LOST = "lease_lost"
    CANCELED = "canceled"
    TIMEOUT = "timeout"
    DRAINING = "draining"


class Stopped(Exception):
    """Raised between two steps: the job shall not go on in this worker."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class StepCallback:
    """The `on_step` of a transfer. Raises Stopped; otherwise costs the sampler a comparison of clocks and, a few times
    per second, the small preview picture. Encoding and writing happen in the thread of `ProgressWriter`."""

    def __init__(self, lease: LeaseKeeper, shutdown: Shutdown, writer: "ProgressWriter", *, timeout_s: float) -> None:
        self._lease = lease
        self._shutdown = shutdown
        self._writer = writer
        self._deadline = time.monotonic() + timeout_s
        self._written_at = float("-inf")

    def __call__(self, step: int, steps: int, preview: Callable[[], Tensor]) -> None:
        self.check()
        now = time.monotonic()
        if now - self._written_at >= WRITE_EVERY_S and self._writer.free:
            self._written_at = now
            self._writer.write(step, steps, preview())

    def check(self) -> None:
        """Marks progress on the lease. Raises Stopped when the job shall not go on."""
        self._lease.mark()
        if self._lease.lost:
            raise Stopped(StopReason.LEASE_LOST)
        if self._lease.cancel_requested:
            raise Stopped(StopReason.CANCELED)
        if time.monotonic() > self._deadline:
            raise Stopped(StopReason.TIMEOUT)
        if self._shutdown.overdue:
            raise Stopped(StopReason.DRAINING)


class ProgressWriter:
    """A thread that writes progress and, unless they are switched off, previews. What comes while it writes is dropped,
    never queued."""

    def __init__(
        self, store: JobStore, objects: ObjectStore, claim: Claim, lease: LeaseKeeper, *, previews: bool = True
    ) -> None:
        self._store = store
        self._objects = objects
        self._claim = claim
        self._lease = lease
        self._key = preview_key(claim.record.tenant, claim.record.id, claim.attempt) if previews else None
        self._next: queue.Queue[tuple[int, int, Tensor] | None] = queue.Queue(maxsize=1)
        self._busy = False
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    @property
    def free(self) -> bool:
        """Nothing is being written."""
        return not self._busy

    def write(self, step: int, steps: int, preview: Tensor) -> None:
        """Returns at once when `free`. `preview` is uint8 [height, width, 3]."""
        self._busy = True
        self._next.put((step, steps, preview))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._next.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._next.get()) is not None:
            step, steps, preview = item
            try:
                if self._key is not None:
                    self._objects.put(self._key, encode_preview(preview), "image/jpeg", overwrite=True)
                self._lease.update(self._store.report_progress(self._claim, step, steps, self._key))
            except (ObjectsUnavailable, StoreUnavailable) as error:
                log.warning("job.progress_unseen", reason=error.code)
            except Exception:
                log.exception("job.progress_failed")
            finally:
                self._busy = False
