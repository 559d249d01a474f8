"""Server-sent events: the record whenever it changes, whole each time, so that nothing need be replayed."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from jobs.errors import JobGone, JobNotFound, StoreUnavailable
from service.dependencies import Called, JobId
from service.polling import LOOK_EVERY_S, version
from service.responses import event_stream, problems
from service.schemas import Transfer

HEARTBEAT_S = 10.0
RECONNECT_MS = 1000

router = APIRouter(prefix="/v1/transfers", tags=["transfers"])


@router.get(
    "/{id}/events",
    operation_id="follow_transfer",
    summary="Follow a transfer",
    response_class=StreamingResponse,
    responses={
        200: event_stream("Events named `transfer`; the data of each is the whole record.", "transfer", "Transfer"),
        **problems("job_not_found", "job_gone", "store_unavailable"),
    },
)
async def follow_transfer(
    job_id: JobId,
    request: Request,
    caller: Called,
    last_event_id: Annotated[str, Header(description="`id` of the last event that the client has seen.")] = "",
) -> StreamingResponse:
    """Sends the record at once and whenever it changes, a comment every few seconds otherwise, and closes
    after the final state. A client that comes back with `Last-Event-ID` is not sent what it has seen."""

    def look() -> Transfer:
        return caller.show(caller.job(job_id))

    first = await run_sync(look)  # before the answer starts, so that a missing job is a 404
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    stream = snapshots(first, look, last_event_id, stopping=lambda: bool(request.app.state.stopping))
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def snapshots(
    first: Transfer, look: Callable[[], Transfer], seen: str, stopping: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """Ends after the final state, when the job's retention ends meanwhile, and when the process stops."""
    transfer, spoken = first, time.monotonic()
    yield b"retry: %d\n\n" % RECONNECT_MS
    while True:
        data = transfer.model_dump_json()
        now = version(transfer)
        if now != seen:
            seen, spoken = now, time.monotonic()
            yield format_sse_event(data_str=data, event="transfer", id=now)
        elif time.monotonic() - spoken >= HEARTBEAT_S:
            spoken = time.monotonic()
            yield KEEPALIVE_COMMENT
        if transfer.status.terminal or stopping():
            return
        await anyio.sleep(LOOK_EVERY_S)
        try:
            transfer = await run_sync(look)
        except StoreUnavailable:
            continue  # the stream outlives a short outage; heartbeats go on
        except (JobNotFound, JobGone):
            return
