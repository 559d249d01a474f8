"""A thread that keeps saying what this worker is doing, so that silence means it is gone."""

import threading
from types import TracebackType
from typing import Self

import structlog

from core.params.optional_models import OptionalModel
from jobs.errors import StoreUnavailable
from jobs.schema import ModelIdentity, WorkerReport, WorkerState
from jobs.stores.job_store import JobStore

log = structlog.get_logger()


class Presence:
    """Context manager around the life of a worker."""

    def __init__(self, store: JobStore, worker_id: str, *, every_s: float) -> None:
        self._store = store
        self._every_s = every_s
        self._worker_id = worker_id
        self._said = WorkerReport(
            worker_id=worker_id, state=WorkerState.STARTING, model=None, detail="loading the model"
        )
        self._changed = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def say(self, state: WorkerState, detail: str = "") -> None:
        """Told to the store within milliseconds."""
        self._tell(self._said.model_copy(update={"state": state, "detail": detail}))

    def ready(self, model: ModelIdentity, held: tuple[OptionalModel, ...]) -> None:
        """Says that the weights are loaded, and which; said from then on."""
        self._tell(
            self._said.model_copy(
                update={"state": WorkerState.READY, "detail": "", "model": model, "optional_models": held}
            )
        )

    def _tell(self, said: WorkerReport) -> None:
        self._said = said
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
                self._store.report_worker(self._said)
            except StoreUnavailable:
                log.debug("presence.unsaid")
            if over:
                return
            self._changed.wait(self._every_s)
