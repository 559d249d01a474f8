"""Matches: which part of one picture belongs to which part of another, and nothing painted. The same kind of job."""

from typing import Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from jobs.schema import JobKind
from service.dependencies import (
    Called,
    Cursor,
    IdempotencyKey,
    IfNoneMatch,
    JobId,
    LastEventId,
    Limit,
    OfStatus,
    Prefer,
)
from service.job_responses import answer_cancel, answer_look, answer_submission, delete_job, result_of, serve_file
from service.openapi.responses import (
    LOOK_CODES,
    RETRY_CODES,
    SUBMISSION_CODES,
    accepted,
    event_stream,
    file,
    form_body,
    looked_at,
    problems,
)
from service.schemas.job import Matching, MatchingPage
from service.streaming import follow
from service.submissions.body import Admitting, SubmittedMatching

router = APIRouter(prefix="/v1/matches", tags=["matches"])
KIND = JobKind.MATCHES


@router.post(
    "",
    status_code=202,
    operation_id="create_matching",
    summary="Match two pictures",
    response_description="Queued. `Location` is the job's address.",
    openapi_extra=form_body("MatchingForm", "MatchingRequest"),
    responses={**accepted(Matching), **problems(*SUBMISSION_CODES)},
)
async def create_matching(
    form: SubmittedMatching,
    response: Response,
    caller: Called,
    admission: Admitting,
    idempotency_key: IdempotencyKey = "",
    prefer: Prefer = "",
) -> Matching:
    """Finds for every part of `target` the part of `reference` that looks most like it, without painting anything.

    A job like a transfer, with the same fields and the same states, much faster. Of `params` only what concerns sizes,
    guidance and matching has an effect.
    """
    await caller.require_webhook(form.webhook)
    found = await admission.admit(form, caller.tenant, idempotency_key)
    return await answer_submission(*found, caller.show_matching, caller, response, prefer)


@router.get(
    "",
    operation_id="list_matchings",
    summary="List matching jobs, newest first",
    response_description="One page.",
    responses=problems("invalid_request", "store_unavailable", "objects_unavailable"),
)
def list_matchings(caller: Called, status: OfStatus = None, limit: Limit = 20, cursor: Cursor = None) -> MatchingPage:
    """One page of jobs. Go on with `cursor` while `next` is not null."""
    page = caller.jobs(KIND, status, limit, cursor)
    return MatchingPage(items=[caller.show_matching(item) for item in page.items], next=page.next)


@router.get(
    "/{id}",
    operation_id="get_matching",
    summary="Look at a matching job",
    response_model=Matching,
    response_description="The record, as it is now.",
    responses=looked_at(),
)
async def get_matching(
    job_id: JobId, response: Response, caller: Called, if_none_match: IfNoneMatch = "", prefer: Prefer = ""
) -> Any:
    """The record: state, place in the queue, error or result. Polling and `Prefer` work as for a transfer."""
    record = await run_sync(caller.job, job_id, KIND)
    return await answer_look(record, caller.show_matching, caller, response, if_none_match, prefer)


@router.get(
    "/{id}/events",
    operation_id="follow_matching",
    summary="Follow a matching job",
    response_class=StreamingResponse,
    responses={
        200: event_stream("Events named `matching`; the data of each is the whole record.", "matching", "Matching"),
        **problems(*LOOK_CODES),
    },
)
async def follow_matching(job_id: JobId, caller: Called, last_event_id: LastEventId = "") -> StreamingResponse:
    """Sends the record at once and whenever it changes, a comment every few seconds otherwise, and closes after the
    final state. A client that comes back with `Last-Event-ID` is not sent what it has seen."""
    return await follow(lambda: caller.show_matching(caller.job(job_id, KIND)), "matching", last_event_id, caller)


@router.get(
    "/{id}/result",
    operation_id="get_matching_result",
    summary="Fetch the map",
    response_class=Response,
    responses=file(["application/zip"], "NumPy's .npz; see `result` of the record for what is in it."),
)
def get_matching_result(job_id: JobId, caller: Called, if_none_match: IfNoneMatch = "") -> Response:
    """`numpy.load` reads it: `positions`, `similarity`, `inside`, `confidence` and `region`, one entry for each token
    of the target."""
    return serve_file(result_of(caller.job(job_id, KIND)).matches, caller, if_none_match)


@router.get(
    "/{id}/picture",
    operation_id="get_matching_picture",
    summary="Fetch the map as a picture",
    response_class=Response,
    responses=file(["image/png"], "Both pictures side by side, what belongs together in one colour."),
)
def get_matching_picture(job_id: JobId, caller: Called, if_none_match: IfNoneMatch = "") -> Response:
    """For people. Lines join some of the pairs."""
    return serve_file(result_of(caller.job(job_id, KIND)).matches_picture, caller, if_none_match)


@router.post(
    "/{id}/cancel",
    operation_id="cancel_matching",
    summary="Cancel a matching job",
    response_description="The job is over; nothing more will happen.",
    responses={
        202: {"model": Matching, "description": "The worker has been told; what it makes is thrown away."},
        **problems(*LOOK_CODES),
    },
)
def cancel_matching(job_id: JobId, response: Response, caller: Called) -> Matching:
    """Safe to repeat. A queued job is canceled at once, a running one goes through `canceling`, and a job that is over
    stays as it is."""
    return caller.show_matching(answer_cancel(caller.job(job_id, KIND), caller, response))


@router.post(
    "/{id}/retry",
    status_code=202,
    operation_id="retry_matching",
    summary="Run a matching job once more",
    response_description="A new job is queued. `Location` is its address.",
    responses={**accepted(Matching), **problems(*RETRY_CODES)},
)
async def retry_matching(
    job_id: JobId,
    response: Response,
    caller: Called,
    admission: Admitting,
    idempotency_key: IdempotencyKey = "",
    prefer: Prefer = "",
) -> Matching:
    """Queues a new job that does what one that failed, expired or was canceled should have done. That one stays."""
    found = await admission.again(await run_sync(caller.job, job_id, KIND), idempotency_key)
    return await answer_submission(*found, caller.show_matching, caller, response, prefer)


@router.delete(
    "/{id}",
    status_code=204,
    operation_id="delete_matching",
    summary="Delete a matching job",
    response_description="The record is gone, and so are its pictures.",
    responses=problems("job_not_found", "invalid_transition", "job_gone", "store_unavailable"),
)
def delete_matching(job_id: JobId, caller: Called) -> None:
    """Removes the record, the uploaded pictures and the map, as for a transfer."""
    delete_job(caller.job(job_id, KIND), caller)
