"""Server-sent events: the record whenever it changes, whole each time, so that nothing need be replayed."""

import time
from collections.abc import AsyncIterator, Callable

import anyio
from anyio.to_thread import run_sync
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from jobs.errors import JobGone, JobNotFound, ObjectsUnavailable, StoreUnavailable
from service.dependencies import Caller
from service.polling import LOOK_EVERY_S, version
from service.schemas import Job

HEARTBEAT_S = 10.0
RECONNECT_MS = 1000


async def follow(look: Callable[[], Job], event: str, last_event_id: str, caller: Caller) -> StreamingResponse:
    """Events of this name. Raises what `look` raises the first time: a missing job is a 404."""
    first = await run_sync(look)
    state = caller.request.app.state
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    stream = snapshots(first, look, event, last_event_id, stopping=lambda: bool(state.stopping))
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def snapshots(
    first: Job, look: Callable[[], Job], event: str, seen: str, stopping: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """Ends after the final state, when the job's retention ends meanwhile, and when the process stops."""
    job, spoken = first, time.monotonic()
    yield b"retry: %d\n\n" % RECONNECT_MS
    while True:
        now = version(job)
        if now != seen:
            seen, spoken = now, time.monotonic()
            yield format_sse_event(data_str=job.model_dump_json(), event=event, id=now)
        elif time.monotonic() - spoken >= HEARTBEAT_S:
            spoken = time.monotonic()
            yield KEEPALIVE_COMMENT
        if job.status.terminal or stopping():
            return
        await anyio.sleep(LOOK_EVERY_S)
        try:
            job = await run_sync(look)
        except (StoreUnavailable, ObjectsUnavailable):
            continue  # the stream outlives a short outage; heartbeats go on
        except (JobNotFound, JobGone):
            return
