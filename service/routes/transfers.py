"""Transfers: submit, list, look, cancel."""

from typing import Annotated, Any

import structlog
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Form, Query, Request, Response
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData

from jobs.errors import JobsError
from jobs.objects import all_prefixes
from jobs.schema import Record, Status
from service.admission import Admission
from service.dependencies import Called, Caller, IdempotencyKey, IfNoneMatch, JobId, Prefer
from service.errors import Problem, json_pointer
from service.polling import names, retry_after_s, version
from service.responses import IMAGE_CODES, headers, problems
from service.schemas import FieldError, Transfer, TransferForm, TransferPage, never_null

log = structlog.get_logger()
MULTIPART = "multipart/form-data"
RETRY_HINT = "Seconds until looking again makes sense. Absent when the job is over."
WAIT_HINT = "The `wait` that was taken from `Prefer`, in seconds."

ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: headers(
        {
            "Location": "The job's address.",
            "Idempotency-Replayed": "`true` when the key was used before.",
            "Retry-After": RETRY_HINT,
            "Preference-Applied": WAIT_HINT,
        }
    ),
    200: {"model": Transfer, "description": "The job has ended within the time that `Prefer` gave it."}
    | headers({"Location": "The job's address.", "Preference-Applied": WAIT_HINT}),
}

router = APIRouter(prefix="/v1/transfers", tags=["transfers"])


async def _one_of_each(request: Request) -> None:
    """Refuses other content types, which would look like an empty form, and parts that come twice."""
    content_type, options = parse_options_header(request.headers.get("content-type"))
    if content_type != MULTIPART.encode():
        raise Problem("unsupported_media_type", f"Send {MULTIPART}.")
    if options.get(b"charset", b"utf-8").lower() != b"utf-8":
        raise Problem("unsupported_media_type", "Send text in UTF-8.")
    form: FormData = await request.form()  # parsed already
    names = [name for name, _ in form.multi_items()]
    twice = [
        FieldError(pointer=json_pointer([name]), code="duplicate_field", message="This field is given twice.")
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    if twice:
        raise Problem("invalid_request", f"{twice[0].pointer}: {twice[0].message}", errors=twice)


@router.post(
    "",
    status_code=202,
    operation_id="create_transfer",
    summary="Submit a transfer",
    response_description="Queued. `Location` is the job's address.",
    dependencies=[Depends(_one_of_each)],
    responses={
        **ACCEPTED,
        **problems(
            "malformed_body",
            "body_too_slow",
            "body_too_large",
            "unsupported_media_type",
            "invalid_request",
            "model_not_configured",
            *IMAGE_CODES,
            "url_refused",
            "webhook_secret_missing",
            "idempotency_key_in_use",
            "idempotency_key_reused",
            "rate_limited",
            "too_many_jobs",
            "queue_full",
            "store_unavailable",
            "objects_unavailable",
            "decoder_unavailable",
        ),
    },
)
async def create_transfer(
    form: Annotated[TransferForm, Form(media_type=MULTIPART)],
    response: Response,
    caller: Called,
    idempotency_key: IdempotencyKey = "",
    prefer: Prefer = "",
) -> Transfer:
    """Repaints `target` with the appearance of `reference`, part by part.

    All pictures and fields are checked first; then the job is queued and its record returned. Poll `urls.self`
    or follow `urls.events` until `status` is final. With an `Idempotency-Key`, sending the same submission again
    gives the first answer again, or with `Prefer: wait` the job as it is by then.
    """
    if form.webhook is not None:
        await run_sync(caller.require_deliverable, form.webhook.url)
    found = await _admission(caller).admit(form, caller.tenant, idempotency_key)
    return await _accepted(*found, caller, response, prefer)


def _admission(caller: Caller) -> Admission:
    decodes: CapacityLimiter = caller.request.app.state.decode_limiter
    return Admission(caller.store, caller.objects, caller.request.app.state.decoders, decodes)


async def _accepted(record: Record, replayed: bool, caller: Caller, response: Response, prefer: str) -> Transfer:
    """The answer to a submission: 202, or 200 when the job has ended while the client was ready to wait."""
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    record = await caller.waited(record, prefer, response)
    response.status_code = 200 if record.status.terminal else 202
    answer = caller.show(record)
    response.headers["Location"] = answer.urls.self
    _hint(response, record)
    return answer


def _hint(response: Response, record: Record) -> None:
    if (wait_s := retry_after_s(record)) is not None:
        response.headers["Retry-After"] = str(wait_s)


@router.get(
    "",
    operation_id="list_transfers",
    summary="List transfers, newest first",
    response_description="One page.",
    responses=problems("invalid_request", "store_unavailable"),
)
def list_transfers(
    caller: Called,
    status: Annotated[
        Status | None, Query(description="Only jobs in this state.", json_schema_extra=never_null)
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Most jobs on one page.")] = 20,
    cursor: Annotated[
        str | None,
        Query(description="`next` of the page before.", pattern=r"^[0-9]{1,15}$", json_schema_extra=never_null),
    ] = None,
) -> TransferPage:
    """One page of jobs. Go on with `cursor` while `next` is not null."""
    page = caller.store.list_jobs(tenant=caller.tenant, limit=limit, cursor=cursor, status=status)
    return TransferPage(items=[caller.show(item) for item in page.items], next=page.next)


@router.get(
    "/{id}",
    operation_id="get_transfer",
    summary="Look at a transfer",
    response_model=Transfer,
    response_description="The record, as it is now.",
    responses={
        200: headers({"ETag": "Changes with the record.", "Retry-After": RETRY_HINT, "Preference-Applied": WAIT_HINT}),
        304: {"description": "The record has the ETag of `If-None-Match`."} | headers({"Retry-After": RETRY_HINT}),
        **problems("job_not_found", "job_gone", "store_unavailable"),
    },
)
async def get_transfer(
    job_id: JobId, response: Response, caller: Called, if_none_match: IfNoneMatch = "", prefer: Prefer = ""
) -> Any:
    """The record: state, place in the queue, progress, error or result.

    To poll cheaply, send the last `ETag` as `If-None-Match`, and come again after `Retry-After` seconds. With
    `Prefer: wait=N` the answer comes when the job ends or after N seconds.
    """
    record = await caller.waited(await run_sync(caller.job, job_id), prefer, response)
    answer = caller.show(record)
    tag = version(answer)
    response.headers.update({"ETag": f'"{tag}"', "Cache-Control": "private, no-cache"})
    _hint(response, record)
    if names(if_none_match, tag):
        return Response(status_code=304, headers=dict(response.headers))
    return answer


@router.post(
    "/{id}/cancel",
    operation_id="cancel_transfer",
    summary="Cancel a transfer",
    response_description="The job is over; nothing more will happen.",
    responses={
        202: {"model": Transfer, "description": "The worker has been told and stops at its next step."},
        **problems("job_not_found", "job_gone", "store_unavailable"),
    },
)
def cancel_transfer(job_id: JobId, response: Response, caller: Called) -> Transfer:
    """Safe to repeat. A queued job is canceled at once, a running one goes through `canceling`, and a job
    that is over stays as it is."""
    record = caller.store.request_cancel(job_id, tenant=caller.tenant)
    response.status_code = 200 if record.status.terminal else 202
    return caller.show(record)


@router.post(
    "/{id}/retry",
    status_code=202,
    operation_id="retry_transfer",
    summary="Run a transfer once more",
    response_description="A new job is queued. `Location` is its address.",
    responses={
        **ACCEPTED,
        **problems(
            "job_not_found",
            "invalid_transition",
            "idempotency_key_in_use",
            "job_gone",
            "inputs_gone",
            "invalid_request",
            "model_not_configured",
            "idempotency_key_reused",
            "rate_limited",
            "too_many_jobs",
            "queue_full",
            "store_unavailable",
            "objects_unavailable",
        ),
    },
)
async def retry_transfer(
    job_id: JobId, response: Response, caller: Called, idempotency_key: IdempotencyKey = "", prefer: Prefer = ""
) -> Transfer:
    """Queues a new job with the pictures, parameters and seed of one that failed, expired or was canceled. That one
    stays as it is."""
    found = await _admission(caller).again(await run_sync(caller.job, job_id), idempotency_key)
    return await _accepted(*found, caller, response, prefer)


@router.delete(
    "/{id}",
    status_code=204,
    operation_id="delete_transfer",
    summary="Delete a transfer",
    response_description="The record is gone, and so are its pictures.",
    responses=problems("job_not_found", "invalid_transition", "job_gone", "store_unavailable"),
)
def delete_transfer(job_id: JobId, caller: Called) -> None:
    """Removes the record, the uploaded pictures and everything that was made of them. A job that waits is taken out of
    the line; one that runs has to be canceled first. From then on its id is a 410."""
    caller.store.delete(job_id, tenant=caller.tenant)
    try:
        for prefix in all_prefixes(caller.tenant, job_id):
            caller.objects.delete_prefix(prefix)
        caller.store.chores.forget(caller.tenant, job_id)
    except JobsError:
        log.warning("objects.left", job_id=job_id)  # the collector has them on its list
