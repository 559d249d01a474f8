"""What a submission would come to: everything is checked, nothing is stored or queued."""

from statistics import median

from anyio.to_thread import run_sync

from jobs.schema import Record, Status
from jobs.stores.job_store import JobStore
from service.schemas.dry_run import DryRun, Estimate
from service.schemas.job import EffectiveOutput, EffectiveParams
from service.schemas.submission import ImageFields, Submission
from service.submissions.admission import WARM, Admission

LOOK_BACK = 20
"""Of the tenant's latest jobs that succeeded, those from which it is estimated how long one takes."""


async def dry_run(admission: Admission, form: Submission, tenant: str) -> DryRun:
    """Raises what `Admission.admit` raises for a submission that is refused."""
    sizes = await admission.check(form, tenant)
    return DryRun(
        params=EffectiveParams(**form.params.model_dump()),
        output=EffectiveOutput(**form.output.model_dump()) if isinstance(form, ImageFields) else None,
        width=sizes["target"].width,
        height=sizes["target"].height,
        inputs=sizes,
        pictures=form.pictures_made,
        estimate=await run_sync(_estimate, admission.stores.jobs, form, tenant),
    )


def _estimate(store: JobStore, form: Submission, tenant: str) -> Estimate:
    """Jobs in front are taken to be like the latest ones. Raises StoreUnavailable."""
    position = store.next_position(tenant=tenant, priority=form.priority)
    page = store.list_jobs(tenant=tenant, kind=form.kind, status=Status.SUCCEEDED, limit=LOOK_BACK)
    runs = [(run, len(record.spec.seeds)) for record in page.items if (run := _run_s(record)) is not None]
    of_job = median(run for run, _ in runs) if runs else None
    run_s = round(form.pictures_made * median(run / made for run, made in runs), 1) if runs else None
    warm = sum(worker.state in WARM for worker in store.workers())
    start_s = None if of_job is None or not warm else round((position - 1) * of_job / warm, 1)
    return Estimate(queue_position=position, start_s=start_s, run_s=run_s)


def _run_s(record: Record) -> float | None:
    if record.started_at is None or record.finished_at is None:
        return None
    return (record.finished_at - record.started_at).total_seconds()
