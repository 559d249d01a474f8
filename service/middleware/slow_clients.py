"""How slowly a client may send: connections are few, and one that drips a byte a second would hold its own for ever.

uvicorn bounds neither the time that a request's head takes nor that of its body.
"""

import asyncio
from dataclasses import dataclass
from time import monotonic

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive
from uvicorn.protocols.http.h11_impl import H11Protocol


@dataclass(frozen=True, slots=True)
class Pace:
    """The slowest that is allowed. Only the time spent waiting for the client counts."""

    head_s: float = 10.0
    """From the first moment of a connection, or the first byte of its next request, to the end of the headers."""
    pause_s: float = 10.0
    """Time a body has beyond what its bytes take at `bytes_per_s`."""
    bytes_per_s: float = 16_384.0
    body_s: float = 300.0
    """Longest time of a whole body, however steadily it comes."""

    def paced(self, receive: Receive) -> Receive:
        """`receive` for one request. A body that comes too slowly raises what becomes a 408."""
        waited_s, received, complete = 0.0, 0, False

        async def receive_paced() -> Message:
            nonlocal waited_s, received, complete
            if complete:
                return await receive()  # from here on a long silence is a client that listens
            left_s = min(self.pause_s + received / self.bytes_per_s, self.body_s) - waited_s
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
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._arrived()
        elif self._late is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._late = self.loop.call_later(self.head_s, self._close)

    def _arrived(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _close(self) -> None:
        self._late = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


def protocol(pace: Pace) -> type[PacedProtocol]:
    """uvicorn makes protocols itself, so the time is part of the class."""
    return type("Protocol", (PacedProtocol,), {"head_s": pace.head_s})
