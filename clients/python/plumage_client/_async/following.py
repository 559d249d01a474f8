"""Following a job or a batch to its end: by its event stream, and by polling where streams do not get through."""

import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Generic, TypeVar

import httpx

from plumage_client._async.transport import AsyncTransport
from plumage_client._clock import asleep
from plumage_client._streams import AsyncStream
from plumage_client.errors import PlumageError, ServerError
from plumage_client.models import Followed
from plumage_client.retries import retry_after_s
from plumage_client.sse import EventReader

SILENCE_S = 35.0
"""Three heartbeats of the service. A longer silence means that something swallows the stream."""
STREAMS = 3
"""Broken streams in a row, none of which brought an event, after which polling takes over."""
PAUSE_S = 0.5
POLL_S = 1.0

R = TypeVar("R", bound=Followed)


class AsyncFollowing(Generic[R]):
    """One record, followed once."""

    def __init__(self, transport: AsyncTransport, path: str, model: type[R], late: Callable[[R], PlumageError]) -> None:
        """`late` makes the error for a record that is not final in time."""
        self._transport = transport
        self._path = path
        self._model = model
        self._late = late
        self._reader = EventReader()
        self._last: R | None = None
        self._deadline = float("inf")

    async def until(self, deadline: float, last: R | None) -> AsyncStream[R]:
        """As `snapshots`, but raises what `late` makes when the record is not final at the `deadline`, of
        `time.monotonic`: at once, or at the stream's next heartbeat."""
        self._deadline, self._last = deadline, last
        async with aclosing(self.snapshots()) as snapshots:
            async for record in snapshots:
                yield record

    async def snapshots(self) -> AsyncStream[R]:
        """The record at once and whenever it changes; the last one is final. Raises ApiError and NoConnection."""
        broken = 0
        while broken < STREAMS:
            before = self._reader.last_id
            try:
                async with aclosing(self._stream()) as stream:
                    async for record in stream:
                        yield record
                        if record.done:
                            return
            except (httpx.TransportError, ServerError):
                pass  # polling will say whether that lasts
            broken = broken + 1 if before == self._reader.last_id else 0
            await asleep(min(PAUSE_S, self._left_s()))
        async with aclosing(self._polled()) as polled:
            async for record in polled:
                yield record

    async def _stream(self) -> AsyncStream[R]:
        headers = {"Accept": "text/event-stream"}
        if self._reader.last_id:
            headers["Last-Event-ID"] = self._reader.last_id
        silence_s = max(0.001, min(SILENCE_S, self._left_s()))
        async with self._transport.stream(f"{self._path}/events", headers, silence_s) as response:
            async for line in response.aiter_lines():
                event = self._reader.read(line)
                if event is not None:
                    yield self._seen(self._model.model_validate_json(event.data))
                self._left_s()

    async def _polled(self) -> AsyncStream[R]:
        tag = ""
        while True:
            response = await self._transport.send("GET", self._path, headers={"If-None-Match": tag} if tag else {})
            tag = response.headers.get("etag", "")
            if response.status_code != 304:
                record = self._seen(self._model.model_validate_json(response.content))
                yield record
                if record.done:
                    return
            hint_s = retry_after_s(response.headers) or POLL_S
            await asleep(min(hint_s, self._left_s()))

    def _seen(self, record: R) -> R:
        self._last = record
        return record

    def _left_s(self) -> float:
        """Raises TimedOut when nothing is left."""
        left_s = self._deadline - time.monotonic()
        if left_s <= 0 and self._last is not None and not self._last.done:
            raise self._late(self._last)
        return max(0.0, left_s)
