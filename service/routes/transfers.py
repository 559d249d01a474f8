"""Transfers: submit, list, look, cancel."""

from typing import Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Response

from jobs.schema import JobKind
from service.dependencies import Called, Cursor, IdempotencyKey, IfNoneMatch, JobId, Limit, OfStatus, Prefer
from service.job_responses import answer_cancel, answer_look, answer_submission, delete_job
from service.openapi.responses import (
    LOOK_CODES,
    RETRY_CODES,
    SUBMISSION_CODES,
    accepted,
    form_body,
    looked_at,
    problems,
)
from service.schemas.job import Transfer, TransferPage
from service.submissions.body import Admitting, SubmittedTransfer

router = APIRouter(prefix="/v1/transfers", tags=["transfers"])


@router.post(
    "",
    status_code=202,
    operation_id="create_transfer",
    summary="Submit a transfer",
    response_description="Queued. `Location` is the job's address.",
    openapi_extra=form_body("TransferForm", "TransferRequest"),
    responses={**accepted(Transfer), **problems(*SUBMISSION_CODES, "output_transparency")},
)
async def create_transfer(
    form: SubmittedTransfer,
    response: Response,
    caller: Called,
    admission: Admitting,
    idempotency_key: IdempotencyKey = "",
    prefer: Prefer = "",
) -> Transfer:
    """Repaints `target` with the appearance of `reference`, part by part.

    Where `params.regions` name pictures and masks, send them too: as parts `picture_NAME` and `mask_NAME` of the form,
    or by name in `pictures` and `masks` of the JSON.

    All pictures and fields are checked first; then the job is queued and its record returned. Poll `urls.self`
    or follow `urls.events` until `status` is final. With an `Idempotency-Key`, sending the same submission again
    gives the first answer again, or with `Prefer: wait` the job as it is by then.
    """
    await caller.require_webhook(form.webhook)
    found = await admission.admit(form, caller.tenant, idempotency_key)
    return await answer_submission(*found, caller.show, caller, response, prefer)


@router.get(
    "",
    operation_id="list_transfers",
    summary="List transfers, newest first",
    response_description="One page.",
    responses=problems("invalid_request", "store_unavailable", "objects_unavailable"),
)
def list_transfers(caller: Called, status: OfStatus = None, limit: Limit = 20, cursor: Cursor = None) -> TransferPage:
    """One page of jobs. Go on with `cursor` while `next` is not null."""
    page = caller.jobs(JobKind.TRANSFER, status, limit, cursor)
    return TransferPage(items=[caller.show(item) for item in page.items], next=page.next)


@router.get(
    "/{id}",
    operation_id="get_transfer",
    summary="Look at a transfer",
    response_model=Transfer,
    response_description="The record, as it is now.",
    responses=looked_at(),
)
async def get_transfer(
    job_id: JobId, response: Response, caller: Called, if_none_match: IfNoneMatch = "", prefer: Prefer = ""
) -> Any:
    """The record: state, place in the queue, progress, error or result.

    To poll cheaply, send the last `ETag` as `If-None-Match`, and come again after `Retry-After` seconds. With
    `Prefer: wait=N` the answer comes when the job ends or after N seconds.
    """
    record = await run_sync(caller.job, job_id)
    return await answer_look(record, caller.show, caller, response, if_none_match, prefer)


@router.post(
    "/{id}/cancel",
    operation_id="cancel_transfer",
    summary="Cancel a transfer",
    response_description="The job is over; nothing more will happen.",
    responses={
        202: {"model": Transfer, "description": "The worker has been told and stops at its next step."},
        **problems(*LOOK_CODES),
    },
)
def cancel_transfer(job_id: JobId, response: Response, caller: Called) -> Transfer:
    """Safe to repeat. A queued job is canceled at once, a running one goes through `canceling`, and a job
    that is over stays as it is."""
    return caller.show(answer_cancel(caller.job(job_id), caller, response))


@router.post(
    "/{id}/retry",
    status_code=202,
    operation_id="retry_transfer",
    summary="Run a transfer once more",
    response_description="A new job is queued. `Location` is its address.",
    responses={**accepted(Transfer), **problems(*RETRY_CODES)},
)
async def retry_transfer(
    job_id: JobId,
    response: Response,
    caller: Called,
    admission: Admitting,
    idempotency_key: IdempotencyKey = "",
    prefer: Prefer = "",
) -> Transfer:
    """Queues a new job with the pictures, parameters and seed of one that failed, expired or was canceled. That one
    stays as it is."""
    found = await admission.again(await run_sync(caller.job, job_id), idempotency_key)
    return await answer_submission(*found, caller.show, caller, response, prefer)


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
    delete_job(caller.job(job_id), caller)
