"""Server-sent events of a transfer."""

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from service.dependencies import Called, JobId, LastEventId
from service.openapi.responses import LOOK_CODES, event_stream, problems
from service.streaming import follow

router = APIRouter(prefix="/v1/transfers", tags=["transfers"])


@router.get(
    "/{id}/events",
    operation_id="follow_transfer",
    summary="Follow a transfer",
    response_class=StreamingResponse,
    responses={
        200: event_stream("Events named `transfer`; the data of each is the whole record.", "transfer", "Transfer"),
        **problems(*LOOK_CODES),
    },
)
async def follow_transfer(job_id: JobId, caller: Called, last_event_id: LastEventId = "") -> StreamingResponse:
    """Sends the record at once and whenever it changes, a comment every few seconds otherwise, and closes
    after the final state. A client that comes back with `Last-Event-ID` is not sent what it has seen."""
    return await follow(lambda: caller.show(caller.job(job_id)), "transfer", last_event_id, caller)
