"""What a submission would come to: everything is checked, nothing is stored or queued."""

from statistics import median

from pydantic import ConfigDict

from jobs.schema import JobKind, Output, Record, Status, WorkerState
from jobs.store import JobStore
from service.forms import Painted, Submission
from service.results import Answer
from service.schemas import EffectiveOutput, EffectiveParams

LOOK_BACK = 20
"""Of the tenant's latest jobs that succeeded, those that tell how long one takes."""


class Estimate(Answer):
    """What is to be expected now. It promises nothing."""

    queue_position: int
    """1: would be next in line."""
    start_s: float | None
    """Seconds until a worker would take it. Null while no worker is warm, or as long as `run_s` is null."""
    run_s: float | None
    """Seconds that it would run: the median of your latest jobs of this kind, whatever their parameters. Null when
    there are none."""


class DryRun(Answer):
    """A submission that would be accepted."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    params: EffectiveParams
    output: EffectiveOutput | None
    """Null where nothing is painted."""
    width: int
    """Of the target, and so of the result, in pixels."""
    height: int
    estimate: Estimate

    @classmethod
    def of(cls, form: Submission, size: tuple[int, int], estimate: Estimate) -> "DryRun":
        output: Output | None = form.output if isinstance(form, Painted) else None
        return cls(
            params=EffectiveParams(**form.params.model_dump()),
            output=EffectiveOutput(**output.model_dump()) if output else None,
            width=size[0],
            height=size[1],
            estimate=estimate,
        )


def estimate(store: JobStore, tenant: str, kind: JobKind, priority: int) -> Estimate:
    """Raises StoreUnavailable."""
    place = store.place(tenant=tenant, priority=priority)
    page = store.list_jobs(tenant=tenant, kind=kind, status=Status.SUCCEEDED, limit=LOOK_BACK)
    runs = [run for record in page.items if (run := _run_s(record)) is not None]
    run_s = round(median(runs), 1) if runs else None
    warm = sum(worker.state in (WorkerState.READY, WorkerState.BUSY) for worker in store.workers())
    start_s = None if run_s is None or not warm else round((place - 1) * run_s / warm, 1)
    return Estimate(queue_position=place, start_s=start_s, run_s=run_s)


def _run_s(record: Record) -> float | None:
    if record.started_at is None or record.finished_at is None:
        return None
    return (record.finished_at - record.started_at).total_seconds()
