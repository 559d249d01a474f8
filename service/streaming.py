"""Server-sent events: a record whenever it changes, whole each time, so that nothing need be replayed."""

import time
from collections.abc import AsyncIterator, Callable

import anyio
from anyio.to_thread import run_sync
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from jobs.errors import BatchGone, BatchNotFound, JobGone, JobNotFound, ObjectsUnavailable, StoreUnavailable
from service.dependencies import Caller
from service.polling import LOOK_EVERY_S, version
from service.schemas.batch import Batch
from service.schemas.job import Job

HEARTBEAT_S = 10.0
RECONNECT_MS = 1000

Shown = Job | Batch


async def follow(
    look: Callable[[], Shown], event: str, last_event_id: str, caller: Caller, *, every_s: float = LOOK_EVERY_S
) -> StreamingResponse:
    """Events of this name, at most one in `every_s`. Raises what `look` raises the first time: what is missing is a
    404."""
    first = await run_sync(look)
    state = caller.request.app.state
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    stream = snapshots(first, look, event, last_event_id, every_s, stopping=lambda: bool(state.stopping))
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def snapshots(
    first: Shown, look: Callable[[], Shown], event: str, seen: str, every_s: float, stopping: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """Ends after the final state, when retention ends meanwhile, and when the process stops."""
    shown, spoken = first, time.monotonic()
    yield b"retry: %d\n\n" % RECONNECT_MS
    while True:
        now = version(shown)
        if now != seen:
            seen, spoken = now, time.monotonic()
            yield format_sse_event(data_str=shown.model_dump_json(), event=event, id=now)
        elif time.monotonic() - spoken >= HEARTBEAT_S:
            spoken = time.monotonic()
            yield KEEPALIVE_COMMENT
        if shown.finished_at is not None or stopping():
            return
        await anyio.sleep(every_s)
        try:
            shown = await run_sync(look)
        except (StoreUnavailable, ObjectsUnavailable):
            continue  # the stream outlives a short outage; heartbeats go on
        except (JobNotFound, JobGone, BatchNotFound, BatchGone):
            return
