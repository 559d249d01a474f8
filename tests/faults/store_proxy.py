"""A proxy in front of an S3 server that does what networks and servers do on bad days."""

import http.client
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Fault(Enum):
    ERROR = auto()
    """500, and the request never reaches the store."""
    LATE_ERROR = auto()
    """500, although the store has done what was asked."""
    BLACK_HOLE = auto()
    """The request is read and never answered."""
    RESET = auto()
    """The connection is reset in the middle of the answer; of an upload, in the middle of the request."""
    TRUNCATED = auto()
    """The answer's body ends early, and the connection as if all were well."""
    FLIPPED = auto()
    """One bit of the answer's body is wrong."""


@dataclass
class Weather:
    """What happens to requests. Changed while the proxy runs."""

    fault: Fault | None = None
    times: int = 0
    """So many more requests meet the fault."""
    method: str | None = None
    """Only requests of this method do; None: all."""
    latency_s: float = 0.0
    requests: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def set(self, fault: Fault | None, times: int = 10**6, method: str | None = None) -> None:
        self.fault, self.times, self.method, self.requests = fault, times, method, 0

    def next(self, method: str) -> Fault | None:
        with self.lock:
            self.requests += 1
            if self.fault is None or self.times == 0 or self.method not in (None, method):
                return None
            self.times -= 1
            return self.fault


class Handler(BaseHTTPRequestHandler):
    """Passes requests on, as the weather permits."""

    protocol_version = "HTTP/1.1"
    upstream: tuple[str, int]
    weather: Weather

    def handle_any(self) -> None:
        fault = self.weather.next(self.command)
        length = int(self.headers.get("Content-Length") or 0)
        if fault is Fault.RESET and length:
            self.rfile.read(length // 2)
            return reset(self.connection)
        body = self.rfile.read(length)
        time.sleep(self.weather.latency_s)
        if fault is Fault.BLACK_HOLE:
            self.weather.over.wait(60)
            self.close_connection = True
            return None
        if fault is Fault.ERROR:
            return self.answer(500, [], b"", 0)
        status, headers, data = self.forward(body)
        if fault is Fault.LATE_ERROR:
            return self.answer(500, [], b"", 0)
        if fault is Fault.FLIPPED and data:
            data = bytes([data[0] ^ 1]) + data[1:]
        cut = fault in (Fault.RESET, Fault.TRUNCATED)
        self.answer(status, headers, data[: len(data) // 2] if cut else data, len(data))
        if fault is Fault.RESET:
            reset(self.connection)
        if cut:
            self.close_connection = True
        return None

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any

    def forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(*self.upstream, timeout=30)
        try:
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            connection.close()

    def answer(self, status: int, headers: list[tuple[str, str]], data: bytes, announced: int) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        head = dict((name.lower(), value) for name, value in headers)
        length = head.get("content-length", "0") if self.command == "HEAD" else str(announced)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Silent."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """Clients that give up are what this is for."""


@contextmanager
def proxy_before(upstream: tuple[str, int], handler: type[Handler] = Handler) -> Iterator[tuple[str, Weather]]:
    """Its URL, and its weather."""
    weather = Weather()
    server = Server(("127.0.0.1", 0), type("BoundHandler", (handler,), {"upstream": upstream, "weather": weather}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", weather
    finally:
        weather.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def reset(connection: socket.socket) -> None:
    """Closes with RST and not with FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_RD)
    connection.close()
