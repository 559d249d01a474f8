"""Transfers: submit, look, list, cancel, fetch."""

from collections.abc import Iterator
from functools import partial
from typing import Annotated

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Form, Query, Request, Response
from starlette.datastructures import FormData

from jobs.errors import ObjectNotFound
from jobs.schema import JobResult, Page, Record, Status
from jobs.store import JobStore
from service.admission import Admission
from service.dependencies import JobId, Objects, Settings, Store, Tenant
from service.errors import PROBLEMS, Problem
from service.responses import IMAGE_CODES, binary, problems
from service.schemas import FieldError, Transfer, TransferForm, TransferPage, never_null

MULTIPART = "multipart/form-data"
PAGES_PER_LISTING = 10

router = APIRouter(prefix="/v1/transfers", tags=["transfers"])


async def _one_of_each(request: Request) -> None:
    """Refuses other content types, which would look like an empty form, and parts that come twice."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != MULTIPART:
        raise Problem("unsupported_media_type", f"Send {MULTIPART}.")
    form: FormData = await request.form()  # parsed already
    names = [name for name, _ in form.multi_items()]
    twice = [
        FieldError(pointer=f"/{name}", code="duplicate_field", message="This field is given twice.")
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
    responses=problems(
        "malformed_body",
        "body_too_large",
        "unsupported_media_type",
        "invalid_request",
        *IMAGE_CODES,
        "queue_full",
        "store_unavailable",
        "objects_unavailable",
    ),
)
async def create_transfer(
    form: Annotated[TransferForm, Form(media_type=MULTIPART)],
    request: Request,
    response: Response,
    store: Store,
    objects: Objects,
    settings: Settings,
    tenant: Tenant,
) -> Transfer:
    """Repaints `target` with the appearance of `reference`, part by part.

    All pictures and fields are checked first; then the job is queued and its record returned. Poll `urls.self`
    or follow `urls.events` until `status` is final.
    """
    admission = Admission(store, objects, settings.picture_limits)
    limiter: anyio.CapacityLimiter = request.app.state.decode_limiter
    record = await run_sync(partial(admission.admit, form, tenant), limiter=limiter)
    answer = Transfer.of(record, settings.public_url)
    response.headers["Location"] = answer.urls.self
    return answer


@router.get(
    "",
    operation_id="list_transfers",
    summary="List transfers, newest first",
    response_description="One page.",
    responses=problems("invalid_request", "store_unavailable"),
)
def list_transfers(
    store: Store,
    settings: Settings,
    tenant: Tenant,
    status: Annotated[
        Status | None, Query(description="Only jobs in this state.", json_schema_extra=never_null)
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Most jobs on one page.")] = 20,
    cursor: Annotated[
        str | None,
        Query(description="`next` of the page before.", max_length=100, json_schema_extra=never_null),
    ] = None,
) -> TransferPage:
    """One page of jobs. Go on with `cursor` while `next` is not null."""
    try:
        for page in _pages(store, tenant, limit, cursor):
            items = [record for record in page.items if status in (None, record.status)]
            if items:
                break
    except ValueError as error:
        wrong = FieldError(pointer="/query/cursor", code="invalid_cursor", message="Not a cursor of this list.")
        raise Problem("invalid_request", "The cursor is not one of this list.", errors=[wrong]) from error
    return TransferPage(items=[Transfer.of(item, settings.public_url) for item in items], next=page.next)


def _pages(store: JobStore, tenant: str, limit: int, cursor: str | None) -> Iterator[Page]:
    """Pages from the cursor on, at most so many that one request stays short."""
    for _ in range(PAGES_PER_LISTING):
        page = store.list_jobs(tenant=tenant, limit=limit, cursor=cursor)
        yield page
        if page.next is None:
            return
        cursor = page.next


@router.get(
    "/{id}",
    operation_id="get_transfer",
    summary="Look at a transfer",
    response_description="The record, as it is now.",
    responses=problems("job_not_found", "job_gone", "store_unavailable"),
)
def get_transfer(job_id: JobId, store: Store, settings: Settings, tenant: Tenant) -> Transfer:
    """The record: state, place in the queue, progress, error or result."""
    return Transfer.of(store.get(job_id, tenant=tenant), settings.public_url)


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
def cancel_transfer(job_id: JobId, response: Response, store: Store, settings: Settings, tenant: Tenant) -> Transfer:
    """Safe to repeat. A queued job is canceled at once, a running one goes through `canceling`, and a job
    that is over stays as it is."""
    record = store.request_cancel(job_id, tenant=tenant)
    response.status_code = 200 if record.status.terminal else 202
    return Transfer.of(record, settings.public_url)


@router.get(
    "/{id}/result",
    operation_id="get_transfer_result",
    summary="Fetch the finished picture",
    response_class=Response,
    responses={
        200: binary("image/png", "The picture, of the target's size. Its ETag is the SHA-256 of the bytes."),
        304: {"description": "The picture has the ETag of `If-None-Match`."},
        **problems(
            "job_not_found",
            "not_finished",
            "job_failed",
            "job_canceled",
            "job_expired",
            "job_gone",
            "result_gone",
            "store_unavailable",
            "objects_unavailable",
        ),
    },
)
def get_transfer_result(job_id: JobId, request: Request, store: Store, objects: Objects, tenant: Tenant) -> Response:
    """PNG; RGBA when the target has an alpha channel, else RGB."""
    result = _result_of(store.get(job_id, tenant=tenant))
    headers = {
        "ETag": f'"{result.sha256}"',
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'attachment; filename="plumage-{job_id}.png"',
    }
    if _names(request.headers.get("if-none-match", ""), result.sha256):
        return Response(status_code=304, headers=headers)
    try:
        data = objects.get(result.image_key)
    except ObjectNotFound as error:
        raise Problem("result_gone") from error
    return Response(data, media_type="image/png", headers=headers)


def _result_of(record: Record) -> JobResult:
    """Raises Problem when the job has no result, or none yet."""
    if record.result is not None:
        return record.result
    extra = {"job_status": record.status, "job_error": record.error}
    code = f"job_{record.status}"  # job_failed, job_canceled, job_expired
    if code in PROBLEMS:
        raise Problem(code, record.error.message if record.error else None, extra=extra)
    raise Problem("not_finished", f"The job is {record.status}.", extra=extra)


def _names(if_none_match: str, sha256: str) -> bool:
    tags = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return any(tag in ("*", f'"{sha256}"') for tag in tags)


@router.get(
    "/{id}/preview",
    operation_id="get_transfer_preview",
    summary="Fetch the latest preview",
    response_class=Response,
    responses={
        200: binary("image/jpeg", "A small picture of how far the job is."),
        **problems("job_not_found", "no_preview", "job_gone", "store_unavailable", "objects_unavailable"),
    },
)
def get_transfer_preview(job_id: JobId, store: Store, objects: Objects, tenant: Tenant) -> Response:
    """JPEG. Replaced while the job runs, a few times per second at most."""
    record = store.get(job_id, tenant=tenant)
    if record.preview_key is None:
        raise Problem("no_preview", extra={"job_status": record.status})
    try:
        return Response(objects.get(record.preview_key), media_type="image/jpeg")
    except ObjectNotFound as error:
        raise Problem("no_preview", extra={"job_status": record.status}) from error
