"""Can the workers do what a job asks for? They say themselves what they hold."""

from core.params.optional_models import how_to_configure
from core.params.transfer import TransferParams
from jobs.schema import WorkerState
from jobs.stores.job_store import JobStore
from service.errors import Problem

_WARM = (WorkerState.READY, WorkerState.BUSY)


def require_models(store: JobStore, params: TransferParams) -> None:
    """Raises Problem `model_not_configured` when a warm worker lacks a model that the job needs: any of them may be the
    one to take it. While no worker is warm nothing is known, and the job is let in; and StoreUnavailable.
    """
    needed = params.needed_models
    if not needed:
        return
    warm = [worker for worker in store.workers() if worker.state in _WARM]
    for model in sorted(needed):
        if any(model not in worker.optional_models for worker in warm):
            raise Problem("model_not_configured", f"{how_to_configure(model)}.", extra={"model": model})
