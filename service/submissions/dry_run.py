"""What a submission would come to: everything is checked, nothing is stored or queued."""

from statistics import median

from pydantic import ConfigDict

from jobs.schema import JobKind, Output, Record, Status, WorkerState
from jobs.stores.job_store import JobStore
from service.schemas.job import Answer, EffectiveOutput, EffectiveParams
from service.schemas.submission import Painted, Submission

LOOK_BACK = 20
"""Of the tenant's latest jobs that succeeded, those that tell how long one takes."""


class Estimate(Answer):
    """What is to be expected now. It promises nothing."""

    queue_position: int
    """1: would be next in line."""
    start_s: float | None
    """Seconds until a worker would take it. Null while no worker is warm, or as long as `run_s` is null."""
    run_s: float | None
    """Seconds that it would run: what your latest jobs of this kind took for a picture, whatever their parameters (the
    median), times its pictures. Null when there are none."""


class DryRun(Answer):
    """A submission that would be accepted."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    params: EffectiveParams
    output: EffectiveOutput | None
    """Null where nothing is painted."""
    width: int
    """Of the target, and so of the result, in pixels."""
    height: int
    pictures: int
    """How many it would make: one for each seed."""
    estimate: Estimate

    @classmethod
    def of(cls, form: Submission, size: tuple[int, int], estimate: Estimate) -> "DryRun":
        output: Output | None = form.output if isinstance(form, Painted) else None
        return cls(
            params=EffectiveParams(**form.params.model_dump()),
            output=EffectiveOutput(**output.model_dump()) if output else None,
            width=size[0],
            height=size[1],
            pictures=form.pictures_made,
            estimate=estimate,
        )


def estimate(store: JobStore, tenant: str, kind: JobKind, priority: int, pictures: int) -> Estimate:
    """Raises StoreUnavailable. Of a job that makes so many pictures; those in front of it are taken to be like the
    latest ones."""
    place = store.next_position(tenant=tenant, priority=priority)
    page = store.list_jobs(tenant=tenant, kind=kind, status=Status.SUCCEEDED, limit=LOOK_BACK)
    runs = [(run, len(record.spec.seeds)) for record in page.items if (run := _run_s(record)) is not None]
    of_job = median(run for run, _ in runs) if runs else None
    run_s = round(pictures * median(run / made for run, made in runs), 1) if runs else None
    warm = sum(worker.state in (WorkerState.READY, WorkerState.BUSY) for worker in store.workers())
    start_s = None if of_job is None or not warm else round((place - 1) * of_job / warm, 1)
    return Estimate(queue_position=place, start_s=start_s, run_s=run_s)


def _run_s(record: Record) -> float | None:
    if record.started_at is None or record.finished_at is None:
        return None
    return (record.finished_at - record.started_at).total_seconds()
