"""What the answers to the same question about jobs of different kinds have in common."""

from collections.abc import Callable
from typing import TypeVar

import structlog
from anyio.to_thread import run_sync
from fastapi import Response
from pydantic import BaseModel

from jobs.errors import JobsError, ObjectNotFound
from jobs.objects import all_prefixes, attachment
from jobs.schema import JobResult, Record, StoredFile, StoredVariant
from service.dependencies import Caller
from service.errors import PROBLEMS, Problem
from service.polling import names, retry_after_s, version
from service.schemas.job import Job
from service.schemas.submission import Submission
from service.submissions.admission import Admission
from service.submissions.dry_run import DryRun, estimate

T = TypeVar("T", bound=Job)
M = TypeVar("M", bound=BaseModel)
Show = Callable[[Record], T]
log = structlog.get_logger()


async def answer_submission(
    record: Record, replayed: bool, show: Show[T], caller: Caller, response: Response, prefer: str
) -> T:
    """202, or 200 when the job has ended while the client was ready to wait."""
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    record = await caller.waited(record, prefer, response)
    response.status_code = 200 if record.status.terminal else 202
    answer = await run_sync(show, record)
    response.headers["Location"] = answer.urls.self
    _hint(response, record)
    return answer


async def answer_trial(form: Submission, caller: Caller, admission: Admission) -> DryRun:
    """Raises Problem for a submission that would be refused."""
    await caller.require_webhook(form.webhook)
    size = await admission.tried(form, caller.tenant)
    expected = await run_sync(estimate, caller.stores.jobs, caller.tenant, form.kind, form.priority, form.pictures_made)
    return DryRun.of(form, size, expected)


async def answer_look(
    record: Record, show: Show[T], caller: Caller, response: Response, if_none_match: str, prefer: str
) -> T | Response:
    """The record, or 304 when the client has it."""
    record = await caller.waited(record, prefer, response)
    answer = await run_sync(show, record)
    _hint(response, record)
    return unless_known(answer, version(answer), response, if_none_match)


def unless_known(answer: M, tag: str, response: Response, if_none_match: str) -> M | Response:
    """The answer under this entity tag, or 304 when the client has it."""
    response.headers.update({"ETag": f'"{tag}"', "Cache-Control": "private, no-cache"})
    if names(if_none_match, tag):
        return Response(status_code=304, headers=dict(response.headers))
    return answer


def answer_cancel(record: Record, caller: Caller, response: Response) -> Record:
    """200 when the job is over, 202 when its worker has been told."""
    record = caller.stores.jobs.request_cancel(record.id, tenant=caller.tenant)
    response.status_code = 200 if record.status.terminal else 202
    return record


def delete_job(record: Record, caller: Caller) -> None:
    """The record first: nobody is shown a job that is half gone."""
    caller.stores.jobs.delete(record.id, tenant=caller.tenant)
    try:
        for prefix in all_prefixes(caller.tenant, record.id):
            caller.objects.delete_prefix(prefix)
        caller.stores.cleanup_queue.forget_expired(caller.tenant, record.id)
    except JobsError:
        log.warning("objects.left", job_id=record.id)  # the collector has them on its list


def result_of(record: Record) -> JobResult:
    """Raises Problem when the job has no result, or none yet."""
    if record.result is not None:
        return record.result
    extra = {"job_status": record.status, "job_error": record.error}
    code = f"job_{record.status}"  # job_failed, job_canceled, job_expired
    if code in PROBLEMS:
        raise Problem(code, record.error.message if record.error else None, extra=extra)
    raise Problem("not_finished", f"The job is {record.status}.", extra=extra)


def variant_of(record: Record, seed: int | None) -> StoredVariant:
    """What the job has made with this seed, or with its first. Raises Problem as `result_of` does, and `no_variant`."""
    for variant in result_of(record).variants:
        if seed in (None, variant.seed):
            return variant
    raise Problem("no_variant")


def serve_file(file: StoredFile, caller: Caller, if_none_match: str = "") -> Response:
    """The bytes of a result. Raises Problem `result_gone`, and ObjectsUnavailable."""
    headers = {
        "ETag": f'"{file.sha256}"',
        "Cache-Control": "private, no-cache",
        "Content-Disposition": attachment(file.key),
    }
    if names(if_none_match, file.sha256):
        return Response(status_code=304, headers=headers)
    try:
        data = caller.objects.get(file.key)
    except ObjectNotFound as error:
        raise Problem("result_gone") from error
    return Response(data, media_type=file.content_type, headers=headers)


def _hint(response: Response, record: Record) -> None:
    if (wait_s := retry_after_s(record)) is not None:
        response.headers["Retry-After"] = str(wait_s)
