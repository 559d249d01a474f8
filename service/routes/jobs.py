"""Jobs: submit, list, look at, follow, cancel, retry and delete, or try a submission without queueing it.

Transfers and matchings are jobs alike: `job_router` makes the routes of one kind, described by a `JobResource`.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from jobs.schema import JobKind, Record
from service.dependencies import (
    CurrentTenant,
    Cursor,
    Events,
    IdempotencyKey,
    IfNoneMatch,
    JobAdmission,
    Limit,
    Objects,
    OfStatus,
    ShowJob,
    Stores,
    WaitForEnd,
    job_of,
)
from service.job_responses import delete_job
from service.openapi.responses import (
    DRY_RUN_CODES,
    LOOK_CODES,
    RETRY_CODES,
    SUBMISSION_CODES,
    accepted,
    event_stream,
    form_body,
    looked_at,
    problems,
)
from service.polling import hint_retry, unless_known
from service.schemas.dry_run import DryRun
from service.schemas.job import Job, Matching, MatchingPage, Transfer, TransferPage
from service.schemas.submission import Submission
from service.submissions.body import submitted_matching, submitted_transfer
from service.submissions.dry_run import dry_run


@dataclass(frozen=True, slots=True)
class JobResource:
    """One kind of job as the API shows it. The texts are for the OpenAPI document."""

    kind: JobKind
    path: str
    """Of the collection; also the tag of its operations."""
    name: str
    """In the ids of operations and as the name of events."""
    title: str
    model: type[Transfer | Matching]
    page: type[TransferPage | MatchingPage]
    submitted: Callable[[Request], AsyncIterator[Submission]]
    """Reads the body of a submission."""
    create_summary: str
    create_text: str
    look_text: str
    canceling_text: str
    retry_text: str
    delete_text: str
    further_codes: tuple[str, ...] = ()
    """Problems of a submission besides those of every kind."""


def job_router(resource: JobResource) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=[resource.path])
    _add_submission(router, resource)
    _add_looking(router, resource)
    _add_events(router, resource)
    _add_changes(router, resource)
    return router


def _add_submission(router: APIRouter, resource: JobResource) -> None:
    body = form_body(f"{resource.model.__name__}Form", f"{resource.model.__name__}Request")
    try_text = (
        f"Checks a submission as `create_{resource.name}` does, and stores and queues nothing. Gives all parameters "
        "with the\ndefaults that were filled in, and when to expect the result."
    )

    @router.post(
        f"/{resource.path}",
        status_code=202,
        operation_id=f"create_{resource.name}",
        summary=resource.create_summary,
        description=resource.create_text,
        response_model=resource.model,
        response_description="Queued. `Location` is the job's address.",
        openapi_extra=body,
        responses={**accepted(resource.model), **problems(*SUBMISSION_CODES, *resource.further_codes)},
    )
    async def create(
        form: Annotated[Submission, Depends(resource.submitted)],
        response: Response,
        tenant: CurrentTenant,
        admission: JobAdmission,
        wait: WaitForEnd,
        show: ShowJob,
        idempotency_key: IdempotencyKey = "",
    ) -> Job:
        record, replayed = await admission.admit(form, tenant, idempotency_key)
        return await _submitted(await wait(record), replayed, show, response)

    @router.post(
        f"/dry_run/{resource.path}",
        operation_id=f"try_{resource.name}",
        summary=f"Try a {resource.title}",
        description=try_text,
        response_description="It would be accepted.",
        openapi_extra=body,
        responses=problems(*DRY_RUN_CODES, *resource.further_codes),
    )
    async def try_out(
        form: Annotated[Submission, Depends(resource.submitted)], tenant: CurrentTenant, admission: JobAdmission
    ) -> DryRun:
        return await dry_run(admission, form, tenant)


def _add_looking(router: APIRouter, resource: JobResource) -> None:
    find = job_of(resource.kind)

    @router.get(
        f"/{resource.path}",
        operation_id=f"list_{resource.name}s",
        summary=f"List {resource.title}s, newest first",
        response_model=resource.page,
        response_description="One page.",
        responses=problems("invalid_request", "store_unavailable", "objects_unavailable"),
    )
    def list_jobs(
        stores: Stores,
        tenant: CurrentTenant,
        show: ShowJob,
        status: OfStatus = None,
        limit: Limit = 20,
        cursor: Cursor = None,
    ) -> object:
        """One page of jobs. Go on with `cursor` while `next` is not null."""
        page = stores.jobs.list_jobs(tenant=tenant, kind=resource.kind, limit=limit, cursor=cursor, status=status)
        return {"items": [show(record) for record in page.items], "next": page.next}

    @router.get(
        f"/{resource.path}/{{id}}",
        operation_id=f"get_{resource.name}",
        summary=f"Look at a {resource.title}",
        description=resource.look_text,
        response_model=resource.model,
        response_description="The record, as it is now.",
        responses=looked_at(),
    )
    async def get(
        job: Annotated[Record, Depends(find)],
        response: Response,
        wait: WaitForEnd,
        show: ShowJob,
        if_none_match: IfNoneMatch = "",
    ) -> object:
        record = await wait(job)
        shown = await run_sync(show, record)
        hint_retry(response, record)
        return unless_known(shown, response, if_none_match)


def _add_events(router: APIRouter, resource: JobResource) -> None:
    def shown_first(job: Annotated[Record, Depends(job_of(resource.kind))], show: ShowJob) -> Job:
        """A dependency, so that what fails now is a problem and no broken stream."""
        return show(job)

    @router.get(
        f"/{resource.path}/{{id}}/events",
        operation_id=f"follow_{resource.name}",
        summary=f"Follow a {resource.title}",
        response_class=EventSourceResponse,
        responses={200: event_stream(resource.name, resource.model.__name__), **problems(*LOOK_CODES)},
    )
    async def follow(
        first: Annotated[Job, Depends(shown_first)],
        stores: Stores,
        tenant: CurrentTenant,
        show: ShowJob,
        events: Events,
    ) -> AsyncIterator[ServerSentEvent]:
        """Sends the record at once and whenever it changes, a comment every few seconds otherwise, and closes
        after the final state. A client that comes back with `Last-Event-ID` is not sent what it has seen."""

        def look() -> Job:
            return show(stores.jobs.get(first.id, tenant=tenant))

        async for event in events.snapshots(first, look, resource.name):
            yield event


def _add_changes(router: APIRouter, resource: JobResource) -> None:
    find = job_of(resource.kind)

    @router.post(
        f"/{resource.path}/{{id}}/cancel",
        operation_id=f"cancel_{resource.name}",
        summary=f"Cancel a {resource.title}",
        response_model=resource.model,
        response_description="The job is over; nothing more will happen.",
        responses={
            202: {"model": resource.model, "description": resource.canceling_text},
            **problems(*LOOK_CODES),
        },
    )
    def cancel(job: Annotated[Record, Depends(find)], response: Response, stores: Stores, show: ShowJob) -> Job:
        """Safe to repeat. A queued job is canceled at once, a running one goes through `canceling`, and a job
        that is over stays as it is."""
        record = stores.jobs.request_cancel(job.id, tenant=job.tenant)
        response.status_code = 200 if record.status.terminal else 202
        return show(record)

    @router.post(
        f"/{resource.path}/{{id}}/retry",
        status_code=202,
        operation_id=f"retry_{resource.name}",
        summary=f"Run a {resource.title} once more",
        description=resource.retry_text,
        response_model=resource.model,
        response_description="A new job is queued. `Location` is its address.",
        responses={**accepted(resource.model), **problems(*RETRY_CODES)},
    )
    async def retry(
        job: Annotated[Record, Depends(find)],
        response: Response,
        admission: JobAdmission,
        wait: WaitForEnd,
        show: ShowJob,
        idempotency_key: IdempotencyKey = "",
    ) -> Job:
        record, replayed = await admission.retry(job, idempotency_key)
        return await _submitted(await wait(record), replayed, show, response)

    @router.delete(
        f"/{resource.path}/{{id}}",
        status_code=204,
        operation_id=f"delete_{resource.name}",
        summary=f"Delete a {resource.title}",
        description=resource.delete_text,
        response_description="The record is gone, and so are its pictures.",
        responses=problems("job_not_found", "invalid_transition", "job_gone", "store_unavailable"),
    )
    def delete(job: Annotated[Record, Depends(find)], stores: Stores, objects: Objects) -> None:
        delete_job(job, stores, objects)


async def _submitted(record: Record, replayed: bool, show: ShowJob, response: Response) -> Job:
    """202, or 200 when the job has ended while the client was ready to wait."""
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    response.status_code = 200 if record.status.terminal else 202
    shown = await run_sync(show, record)
    response.headers["Location"] = shown.urls.self
    hint_retry(response, record)
    return shown


TRANSFERS = JobResource(
    kind=JobKind.TRANSFER,
    path="transfers",
    name="transfer",
    title="transfer",
    model=Transfer,
    page=TransferPage,
    submitted=submitted_transfer,
    create_summary="Submit a transfer",
    create_text="""\
Repaints `target` with the appearance of `reference`, part by part.

Where `params.regions` name pictures and masks, send them too: as parts `picture_NAME` and `mask_NAME` of the form,
or by name in `pictures` and `masks` of the JSON.

All pictures and fields are checked first; then the job is queued and its record returned. Poll `urls.self`
or follow `urls.events` until `status` is final. With an `Idempotency-Key`, sending the same submission again
gives the first answer again, or with `Prefer: wait` the job as it is by then.""",
    look_text="""\
The record: state, place in the queue, progress, error or result.

To poll cheaply, send the last `ETag` as `If-None-Match`, and come again after `Retry-After` seconds. With
`Prefer: wait=N` the answer comes when the job ends or after N seconds.""",
    canceling_text="Canceling: the worker stops at its next step.",
    retry_text="""\
Queues a new job with the pictures, parameters and seed of one that failed, expired or was canceled. That one
stays as it is.""",
    delete_text="""\
Removes the record, the uploaded pictures and everything that was made of them. A job that waits is taken out of
the line; one that runs has to be canceled first. From then on its id is a 410.""",
    further_codes=("output_transparency",),
)
MATCHES = JobResource(
    kind=JobKind.MATCHES,
    path="matches",
    name="matching",
    title="matching job",
    model=Matching,
    page=MatchingPage,
    submitted=submitted_matching,
    create_summary="Match two pictures",
    create_text="""\
Finds for every part of `target` the part of `reference` that looks most like it, without painting anything.

A job like a transfer, with the same fields and the same states, much faster. Of `params` only what concerns sizes,
guidance and matching has an effect.""",
    look_text="The record: state, place in the queue, error or result. Polling and `Prefer` work as for a transfer.",
    canceling_text="Canceling: what the worker makes is thrown away.",
    retry_text="""\
Queues a new job that does what one that failed, expired or was canceled should have done. That one stays.""",
    delete_text="Removes the record, the uploaded pictures and the map, as for a transfer.",
)
ROUTERS = (job_router(TRANSFERS), job_router(MATCHES))
