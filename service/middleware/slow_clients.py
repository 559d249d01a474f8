"""A bound on how slowly a client may send: one that drips a byte a second would hold a connection for ever.

uvicorn bounds neither the time that a request's head takes nor that of its body.
"""

import asyncio
from time import monotonic

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.settings import SlowestPace


def paced(receive: Receive, pace: SlowestPace) -> Receive:
    """`receive` for one request. A body that comes too slowly raises what becomes a 408."""
    waited_s, received, complete = 0.0, 0, False

    async def receive_paced() -> Message:
        nonlocal waited_s, received, complete
        if complete:
            return await receive()  # from here on a long silence is a client that listens
        left_s = min(pace.pause_s + received / pace.bytes_per_s, pace.body_s) - waited_s
        began = monotonic()
        try:
            async with asyncio.timeout(max(left_s, 0.0)):
                message = await receive()
        except TimeoutError:
            detail = "The body came too slowly."
            raise HTTPException(408, detail, headers={"Connection": "close"}) from None
        waited_s += monotonic() - began
        received += len(message.get("body", b""))
        complete = not message.get("more_body", False)
        return message

    return receive_paced


class PacedProtocol(H11Protocol):
    """Closes a connection whose request's head does not arrive in time."""

    head_s: float
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_timer()
        elif self._timer is None:
            self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self.head_s, self._close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        self._timer = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


def paced_protocol(pace: SlowestPace) -> type[PacedProtocol]:
    """uvicorn makes protocols itself, so the time is part of the class."""
    return type("PacedProtocol", (PacedProtocol,), {"head_s": pace.head_s})
