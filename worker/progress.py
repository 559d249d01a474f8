"""What happens between two steps of a running job: it may be stopped, and it shows how far it is."""

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
from worker.shutdown import Drain

SHOW_EVERY_S = 0.25

log = structlog.get_logger()


class Reason(StrEnum):
    LEASE_LOST = "lease_lost"
    CANCELED = "canceled"
    TIMEOUT = "timeout"
    DRAINING = "draining"


class Stopped(Exception):
    """Raised between two steps: the job shall not go on in this worker."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class StepWatch:
    """The `on_step` of a transfer. Raises Stopped; otherwise costs the sampler a comparison of clocks and, a few times
    per second, the small preview picture. Encoding and writing happen in `Showcase`'s thread."""

    def __init__(self, lease: LeaseKeeper, drain: Drain, showcase: "Showcase", *, timeout_s: float) -> None:
        self._lease = lease
        self._drain = drain
        self._showcase = showcase
        self._deadline = time.monotonic() + timeout_s
        self._shown_at = float("-inf")

    def __call__(self, step: int, steps: int, preview: Callable[[], Tensor]) -> None:
        self.check()
        now = time.monotonic()
        if now - self._shown_at >= SHOW_EVERY_S and self._showcase.free:
            self._shown_at = now
            self._showcase.show(step, steps, preview())

    def check(self) -> None:
        """Marks the progress; raises Stopped."""
        self._lease.mark()
        if self._lease.lost:
            raise Stopped(Reason.LEASE_LOST)
        if self._lease.cancel_requested:
            raise Stopped(Reason.CANCELED)
        if time.monotonic() > self._deadline:
            raise Stopped(Reason.TIMEOUT)
        if self._drain.overdue:
            raise Stopped(Reason.DRAINING)


class Showcase:
    """A thread that writes progress and previews. It holds one at a time: what is late is left out, never queued."""

    def __init__(self, store: JobStore, objects: ObjectStore, claim: Claim, lease: LeaseKeeper) -> None:
        self._store = store
        self._objects = objects
        self._claim = claim
        self._lease = lease
        self._key = preview_key(claim.record.tenant, claim.record.id, claim.attempt)
        self._next: queue.Queue[tuple[int, int, Tensor] | None] = queue.Queue(maxsize=1)
        self._busy = False
        self._thread = threading.Thread(target=self._run, name="showcase", daemon=True)

    @property
    def free(self) -> bool:
        return not self._busy

    def show(self, step: int, steps: int, preview: Tensor) -> None:
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
        while (shown := self._next.get()) is not None:
            step, steps, preview = shown
            try:
                self._objects.put(self._key, encode_preview(preview), "image/jpeg", overwrite=True)
                self._lease.learn(self._store.report_progress(self._claim, step, steps, self._key))
            except (ObjectsUnavailable, StoreUnavailable) as error:
                log.warning("job.progress_unseen", reason=error.code)
            except Exception:
                log.exception("job.progress_failed")
            finally:
                self._busy = False
