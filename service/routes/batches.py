"""Batches: many transfers, submitted, looked at, canceled and deleted as one."""

from collections.abc import AsyncIterator, Iterator
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from jobs.errors import BatchNotFound, JobGone, JobNotFound
from jobs.schema import Status
from jobs.stores.batches import BATCH_MAX
from jobs.stores.batches import Batch as StoredBatch
from service.dependencies import (
    BaseUrl,
    CurrentTenant,
    Cursor,
    Events,
    IdempotencyKey,
    IfNoneMatch,
    JobAdmission,
    Limit,
    OfStatus,
    Stores,
    Urls,
    is_id,
)
from service.openapi.responses import SUBMISSION_CODES, event_stream, headers, json_body, problems
from service.polling import unless_known
from service.schemas.batch import Batch, BatchItem, BatchItems, BatchPage, BatchResult
from service.schemas.batch_request import BatchRequest
from service.schemas.job import Transfer
from service.submissions.batch_admission import BatchAdmission
from service.submissions.body import submitted_batch

router = APIRouter(prefix="/v1/batches", tags=["batches"])
LOOK_CODES = ("batch_not_found", "batch_gone", "store_unavailable")
RETRY_AFTER_S = 5
EVENTS_EVERY_S = 1.0
LINES = {
    "type": "string",
    "description": "Each line is one of these.",
    "contentMediaType": "application/json",
    "contentSchema": {"$ref": "#/components/schemas/BatchResult"},
}


def _batch_id(id: Annotated[str, Path(description="The batch's `id`.")]) -> str:
    if not is_id(id):
        raise BatchNotFound("There is no such batch.")
    return id


BatchId = Annotated[str, Depends(_batch_id)]


def _batch(batch_id: BatchId, stores: Stores, tenant: CurrentTenant) -> StoredBatch:
    """Raises BatchNotFound, also for another tenant's batch, BatchGone and StoreUnavailable."""
    return stores.batches.get(batch_id, tenant=tenant)


CurrentBatch = Annotated[StoredBatch, Depends(_batch)]


@router.post(
    "",
    status_code=202,
    operation_id="create_batch",
    summary="Submit many transfers",
    response_description="All of them are queued. `Location` is the batch's address.",
    openapi_extra=json_body("BatchRequest"),
    responses={
        202: headers(
            {"Location": "The batch's address.", "Idempotency-Replayed": "`true` when the key was used before."}
        ),
        **problems(*(code for code in SUBMISSION_CODES if not code.startswith("urls_")), "output_transparency"),
    },
)
async def create_batch(
    form: Annotated[BatchRequest, Depends(submitted_batch)],
    response: Response,
    tenant: CurrentTenant,
    base_url: BaseUrl,
    admission: JobAdmission,
    idempotency_key: IdempotencyKey = "",
) -> Batch:
    """One reference onto many targets, or pairs; up to 1,000. The pictures are assets. What `params.regions` name is in
    `pictures` and `masks`, of the batch or of one job.

    Everything is checked first; then all jobs are queued, or none when there is no room for all. Each is a transfer
    with an id of its own, under `/v1/transfers`; its `custom_id` and state are at `urls.items`.
    """
    batch, replayed = await BatchAdmission(admission).admit(form, tenant, idempotency_key)
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    shown = Batch.of(batch, base_url)
    response.headers["Location"] = shown.urls.self
    return shown


@router.get(
    "",
    operation_id="list_batches",
    summary="List batches, newest first",
    response_description="One page.",
    responses=problems("invalid_request", "store_unavailable"),
)
def list_batches(
    stores: Stores, tenant: CurrentTenant, base_url: BaseUrl, limit: Limit = 20, cursor: Cursor = None
) -> BatchPage:
    """One page of batches. Go on with `cursor` while `next` is not null."""
    page = stores.batches.list_batches(tenant=tenant, limit=limit, cursor=cursor)
    return BatchPage(items=[Batch.of(each, base_url) for each in page.items], next=page.next)


@router.get(
    "/{id}",
    operation_id="get_batch",
    summary="Look at a batch",
    response_model=Batch,
    response_description="How many of its jobs are in which state.",
    responses={
        200: headers({"ETag": "Changes with the batch.", "Retry-After": "Absent when it has ended."}),
        304: {"description": "The batch has the ETag of `If-None-Match`."},
        **problems(*LOOK_CODES),
    },
)
def get_batch(batch: CurrentBatch, response: Response, base_url: BaseUrl, if_none_match: IfNoneMatch = "") -> object:
    """To poll cheaply, send the last `ETag` as `If-None-Match`, and come again after `Retry-After` seconds."""
    shown = Batch.of(batch, base_url)
    if batch.finished_at is None:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return unless_known(shown, response, if_none_match)


@router.get(
    "/{id}/events",
    operation_id="follow_batch",
    summary="Follow a batch",
    response_class=EventSourceResponse,
    responses={200: event_stream("batch", "Batch"), **problems(*LOOK_CODES)},
)
async def follow_batch(
    first: CurrentBatch, stores: Stores, tenant: CurrentTenant, base_url: BaseUrl, events: Events
) -> AsyncIterator[ServerSentEvent]:
    """Sends the record at once and, at most once a second, whenever it has changed; a comment every few seconds
    otherwise. Closes when all jobs are over. A client that comes back with `Last-Event-ID` is not sent what it has
    seen."""

    def look() -> Batch:
        return Batch.of(stores.batches.get(first.id, tenant=tenant), base_url)

    async for event in events.snapshots(Batch.of(first, base_url), look, "batch", every_s=EVENTS_EVERY_S):
        yield event


@router.get(
    "/{id}/items",
    operation_id="list_batch_items",
    summary="List the jobs of a batch",
    response_description="One page.",
    responses=problems("invalid_request", *LOOK_CODES),
)
def list_batch_items(
    batch: CurrentBatch,
    base_url: BaseUrl,
    status: OfStatus = None,
    limit: Annotated[int, Query(ge=1, le=BATCH_MAX, description="Most jobs on one page.")] = 100,
    cursor: Cursor = None,
) -> BatchItems:
    """In the order in which they were given. Go on with `cursor` while `next` is not null."""
    start = int(cursor or 0)
    found = [
        (position, member)
        for position, member in enumerate(batch.members)
        if position >= start and status in (None, member.status)
    ]
    items = [BatchItem.of(member, base_url) for _, member in found[:limit]]
    return BatchItems(items=items, next=str(found[limit][0]) if len(found) > limit else None)


@router.get(
    "/{id}/results",
    operation_id="get_batch_results",
    summary="Fetch the results of a batch",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "JSON Lines: a `BatchResult` for each job that is over, in the given order.",
            "content": {"application/jsonl": {"schema": LINES}},
        },
        **problems(*LOOK_CODES, "objects_unavailable"),
    },
)
def get_batch_results(
    batch: CurrentBatch, stores: Stores, tenant: CurrentTenant, base_url: BaseUrl, urls: Urls
) -> StreamingResponse:
    """Jobs that are not over have no line yet: look again when `status` is `ended`. Each line is
    `{"custom_id": …, "transfer": …}` with the whole record and fresh links to its files."""

    def lines() -> Iterator[bytes]:
        for member in batch.members:
            if not Status(member.status).terminal:
                continue
            try:
                record = stores.jobs.get(member.job_id, tenant=tenant)
                transfer = Transfer.of(record, base_url, urls.file)
            except (JobNotFound, JobGone):
                transfer = None
            yield BatchResult(custom_id=member.custom_id, transfer=transfer).model_dump_json().encode() + b"\n"

    name = f'attachment; filename="plumage-batch-{batch.id}.jsonl"'
    return StreamingResponse(lines(), media_type="application/jsonl", headers={"Content-Disposition": name})


@router.post(
    "/{id}/cancel",
    operation_id="cancel_batch",
    summary="Cancel a batch",
    response_model=Batch,
    response_description="All of its jobs are over.",
    responses={
        202: {"model": Batch, "description": "Canceling: workers stop at their next step."},
        **problems(*LOOK_CODES),
    },
)
def cancel_batch(
    batch_id: BatchId, response: Response, stores: Stores, tenant: CurrentTenant, base_url: BaseUrl
) -> object:
    """Safe to repeat. Its queued jobs are canceled at once, running ones go through `canceling`, and those that are
    over stay as they are."""
    batch = stores.batches.cancel(batch_id, tenant=tenant)
    response.status_code = 200 if batch.finished_at else 202
    return Batch.of(batch, base_url)


@router.delete(
    "/{id}",
    status_code=204,
    operation_id="delete_batch",
    summary="Delete a batch",
    response_description="The batch and its jobs are gone.",
    responses=problems(*LOOK_CODES, "invalid_transition"),
)
def delete_batch(batch_id: BatchId, stores: Stores, tenant: CurrentTenant) -> None:
    """Removes the batch, its jobs and all of their pictures. Jobs that wait are taken out of the line; while one runs,
    cancel first. From then on all of these ids are a 410. The bytes in the object store follow within minutes."""
    stores.batches.delete(batch_id, tenant=tenant)
