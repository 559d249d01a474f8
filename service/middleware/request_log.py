"""The outermost layer of ours around every request: its id, the bounds on its body, one line in the log.

FastAPI answers with plain text, past all handlers of the app, to a body over its own `max_body_size`, so the cap is
here.
"""

import re
import time
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Problem, render
from service.middleware.slow_clients import paced
from service.settings import SlowestPace

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
log = structlog.get_logger()


class RequestLog:
    """Gives each request an id (its X-Request-ID if that is sane), which every response and log line has."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, pace: SlowestPace) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._pace = pace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _mark(MutableHeaders(scope=message), request_id)
            await send(message)

        try:
            await self._app(scope, self._capped(scope, paced(receive, self._pace)), send_marked)
        except Exception as error:
            late = status != 0
            if not late:
                response = render(Problem("internal_error"), path=scope["path"], request_id=request_id)
                await response(scope, receive, send_marked)
            log.error("http.error", exc_info=error)
            if late:  # half a response is out: let the server cut the connection
                raise
        finally:
            ms = round((time.perf_counter() - started) * 1000, 1)
            log.info("http.request", method=scope["method"], path=scope["path"], status=status, ms=ms)

    def _capped(self, scope: Scope, receive: Receive) -> Receive:
        """Reading past the cap raises what becomes a 413, and so does a declared length, before anything is read."""
        declared = Headers(scope=scope).get("content-length", "")
        length = int(declared) if declared.isdecimal() and len(declared) < 20 else 0
        detail = f"At most {self._max_body_bytes} bytes are allowed."
        refused = HTTPException(413, detail, headers={"Connection": "close"})  # nobody reads the rest
        read = 0

        async def receive_capped() -> Message:
            nonlocal read
            if length > self._max_body_bytes:
                raise refused
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._max_body_bytes:
                raise refused
            return message

        return receive_capped


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _mark(headers: MutableHeaders, request_id: str) -> None:
    headers["X-Request-ID"] = request_id
    headers["X-Content-Type-Options"] = "nosniff"
    headers.setdefault("Cache-Control", "no-store")
