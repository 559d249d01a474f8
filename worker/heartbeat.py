"""A thread that writes the state of this worker to the store at regular intervals. A worker whose entry expires is
gone."""

import threading
from types import TracebackType
from typing import Self

import structlog

from core.params.optional_models import OptionalModel
from jobs.errors import StoreUnavailable
from jobs.schema import ModelIdentity, WorkerReport, WorkerState
from jobs.stores.job_store import JobStore

log = structlog.get_logger()


class Heartbeat:
    """Context manager around the life of a worker: writes every `every_s` seconds, and at once after each change."""

    def __init__(self, store: JobStore, worker_id: str, *, every_s: float) -> None:
        self._store = store
        self._every_s = every_s
        self._current = WorkerReport(
            worker_id=worker_id, state=WorkerState.STARTING, model=None, detail="loading the model"
        )
        self._changed = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def report(self, state: WorkerState, detail: str = "") -> None:
        """Changes the state. Returns at once; the thread writes it within milliseconds."""
        self._change(self._current.model_copy(update={"state": state, "detail": detail}))

    def report_ready(self, model: ModelIdentity, optional_models: tuple[OptionalModel, ...]) -> None:
        """Changes the state to ready, and names the loaded models in this and every later entry."""
        ready = {"state": WorkerState.READY, "detail": "", "model": model, "optional_models": optional_models}
        self._change(self._current.model_copy(update=ready))

    def _change(self, report: WorkerReport) -> None:
        self._current = report
        self._changed.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        self._changed.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            over = self._over
            self._changed.clear()
            try:
                self._store.report_worker(self._current)
            except StoreUnavailable:
                log.debug("heartbeat.unsent")
            if over:
                return
            self._changed.wait(self._every_s)
