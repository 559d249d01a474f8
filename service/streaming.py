"""Server-sent events: a record whenever it changes, whole each time, so that nothing need be replayed."""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import anyio
from anyio.to_thread import run_sync
from fastapi.sse import ServerSentEvent

from jobs.errors import BatchGone, BatchNotFound, JobGone, JobNotFound, ObjectsUnavailable, StoreUnavailable
from service.polling import LOOK_EVERY_S, version
from service.schemas.batch import Batch
from service.schemas.job import Job

HEARTBEAT_S = 10.0
"""Longest silence while the store answers; clients rely on it. FastAPI's own pings come after 15 s."""
RECONNECT_MS = 1000
Shown = Job | Batch


@dataclass(frozen=True, slots=True)
class EventStream:
    """The stream that one request asks for."""

    seen: str
    """`id` of the last event that the client has seen."""
    stopping: Callable[[], bool]
    """Whether the process stops."""

    async def snapshots(
        self, first: Shown, look: Callable[[], Shown], event: str, *, every_s: float = LOOK_EVERY_S
    ) -> AsyncIterator[ServerSentEvent]:
        """Events of this name, at most one in `every_s`, beginning with `first`.

        Ends after the final state, when retention ends meanwhile, and when the process stops.
        """
        shown, seen, last_sent = first, self.seen, time.monotonic()
        yield ServerSentEvent(retry=RECONNECT_MS)
        while True:
            tag = version(shown)
            if tag != seen:
                seen, last_sent = tag, time.monotonic()
                yield ServerSentEvent(raw_data=shown.model_dump_json(), event=event, id=tag)
            elif time.monotonic() - last_sent >= HEARTBEAT_S:
                last_sent = time.monotonic()
                yield ServerSentEvent(comment="ping")
            if shown.finished_at is not None or self.stopping():
                return
            await anyio.sleep(every_s)
            try:
                shown = await run_sync(look)
            except (StoreUnavailable, ObjectsUnavailable):
                continue  # the stream outlives a short outage; heartbeats go on
            except (JobNotFound, JobGone, BatchNotFound, BatchGone):
                return
