"""Is the process alive, and can it serve?"""

from collections.abc import Callable

from fastapi import APIRouter

from jobs.errors import JobsError
from jobs.objects import ObjectStore
from jobs.schema import WorkerReport, WorkerState
from jobs.stores.job_store import JobStore
from service.dependencies import Objects, Stores
from service.errors import Problem
from service.openapi.responses import problems
from service.schemas.health import Alive, Check, Part, Readiness

PROBE_KEY = "probes/service"

router = APIRouter(prefix="/healthz", tags=["health"])


@router.get("/live", operation_id="check_live", summary="Is the process alive?", response_description="It is.")
async def check_live() -> Alive:
    """Always 200 when the process serves. Looks at nothing else, so an outage elsewhere restarts nobody."""
    return Alive(status="alive")


@router.get(
    "/ready",
    operation_id="check_ready",
    summary="Can jobs be run?",
    response_description="They can.",
    responses=problems("not_ready"),
)
def check_ready(stores: Stores, objects: Objects) -> Readiness:
    """200 when Redis answers, the object store can be written and at least one worker is warm. Otherwise a
    problem whose `checks` name what is missing."""
    checks = [*_redis_and_worker(stores.jobs), _check("objects", lambda: _write_probe(objects))]
    missing = [check for check in checks if not check.ok]
    if missing:
        detail = "; ".join(f"{check.name}: {check.detail}" for check in missing)
        raise Problem("not_ready", detail, extra={"checks": checks})
    return Readiness(status="ready", checks=checks)


def _redis_and_worker(store: JobStore) -> list[Check]:
    workers: list[WorkerReport] = []

    def ask() -> str:
        workers.extend(store.workers())
        return "answers"

    redis = _check("redis", ask)
    warm = [worker for worker in workers if worker.state in (WorkerState.READY, WorkerState.BUSY)]
    if warm:
        detail = f"{len(warm)} of {len(workers)} warm"
    elif workers:
        detail = ", ".join(f"{worker.worker_id} {worker.state}: {worker.detail}" for worker in workers)
    else:
        detail = "no worker has announced itself" if redis.ok else "unknown while Redis does not answer"
    return [redis, Check(name="worker", ok=bool(warm), detail=detail)]


def _write_probe(objects: ObjectStore) -> str:
    objects.put(PROBE_KEY, b"written by the readiness check", "text/plain", overwrite=True)
    return "can be written"


def _check(name: Part, ask: Callable[[], str]) -> Check:
    try:
        return Check(name=name, ok=True, detail=ask())
    except JobsError as error:
        return Check(name=name, ok=False, detail=str(error))
