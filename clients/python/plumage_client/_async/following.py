"""Following a job to its end: by its event stream, and by polling where streams do not get through."""

import time
from contextlib import aclosing
from typing import Generic, TypeVar

import httpx

from plumage_client._async.transport import AsyncTransport
from plumage_client._clock import asleep
from plumage_client._streams import AsyncStream
from plumage_client.errors import ServerError, TimedOut
from plumage_client.models import Job
from plumage_client.retries import retry_after_s
from plumage_client.sse import EventReader

SILENCE_S = 35.0
"""Three heartbeats of the service. A longer silence means that something swallows the stream."""
STREAMS = 3
"""Broken streams in a row, none of which brought an event, after which polling takes over."""
PAUSE_S = 0.5
POLL_S = 1.0

J = TypeVar("J", bound=Job)


class AsyncFollowing(Generic[J]):
    """One job, followed once."""

    def __init__(self, transport: AsyncTransport, path: str, model: type[J]) -> None:
        self._transport = transport
        self._path = path
        self._model = model
        self._reader = EventReader()
        self._last: J | None = None
        self._deadline = float("inf")

    async def until(self, deadline: float, last: J) -> AsyncStream[J]:
        """As `snapshots`, but raises TimedOut when the job goes on past the `deadline`, of `time.monotonic`: at once,
        or at the stream's next heartbeat."""
        self._deadline, self._last = deadline, last
        async with aclosing(self.snapshots()) as snapshots:
            async for job in snapshots:
                yield job

    async def snapshots(self) -> AsyncStream[J]:
        """The record at once and whenever it changes; the last one is final. Raises ApiError and NoConnection."""
        broken = 0
        while broken < STREAMS:
            before = self._reader.last_id
            try:
                async with aclosing(self._stream()) as stream:
                    async for job in stream:
                        yield job
                        if job.done:
                            return
            except (httpx.TransportError, ServerError):
                pass  # polling will say whether that lasts
            broken = broken + 1 if before == self._reader.last_id else 0
            await asleep(min(PAUSE_S, self._left_s()))
        async with aclosing(self._polled()) as polled:
            async for job in polled:
                yield job

    async def _stream(self) -> AsyncStream[J]:
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

    async def _polled(self) -> AsyncStream[J]:
        tag = ""
        while True:
            response = await self._transport.send("GET", self._path, headers={"If-None-Match": tag} if tag else {})
            tag = response.headers.get("etag", "")
            if response.status_code != 304:
                job = self._seen(self._model.model_validate_json(response.content))
                yield job
                if job.done:
                    return
            hint_s = retry_after_s(response.headers) or POLL_S
            await asleep(min(hint_s, self._left_s()))

    def _seen(self, job: J) -> J:
        self._last = job
        return job

    def _left_s(self) -> float:
        """Raises TimedOut when nothing is left."""
        left_s = self._deadline - time.monotonic()
        if left_s <= 0 and self._last is not None and not self._last.done:
            raise TimedOut(self._last)
        return max(0.0, left_s)
