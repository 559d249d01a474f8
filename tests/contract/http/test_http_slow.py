"""Clients that send slowly, on purpose or not, over plain sockets to a real server."""

import json
import socket
import time
from collections.abc import Iterable, Iterator

import pytest

from service.settings import ServiceSettings
from tests.contract.http.conftest import REFERENCE, TARGET, Stack, StartStack

PATIENCE_S = 15.0
PART = b'--x\r\nContent-Disposition: form-data; name="target"; filename="a"\r\n\r\n'
HEAD = b"POST /v1/transfers HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"


@pytest.fixture
def quick(start_stack: StartStack) -> Stack:
    return start_stack(quickly())


def quickly(max_body_bytes: int = 64 * 2**20) -> ServiceSettings:
    return ServiceSettings(
        max_body_bytes=max_body_bytes,
        head_timeout_s=1.0,
        body_pause_s=1.0,
        body_bytes_per_s=200_000,
        body_timeout_s=4.0,
    )


def form(filler: int = 0) -> bytes:
    parts = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="%s"; filename="a"\r\n\r\n%s\r\n' % part
        for part in ((b"target", TARGET + b"\0" * filler), (b"reference", REFERENCE))
    )
    return parts + b"--x--\r\n"


def exchange(stack: Stack, pieces: Iterable[bytes], pause_s: float) -> tuple[bytes, float]:
    """Sends the pieces with a pause after each until the server closes; its answer, and seconds until it was there."""
    port = stack.server.servers[0].sockets[0].getsockname()[1]
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
                connection.settimeout(pause_s)
                if (answer := connection.recv(65_536)) is not None:
                    break
            except TimeoutError:
                connection.settimeout(PATIENCE_S)
            except ConnectionError:
                return b"", time.monotonic() - began
        else:
            answer = connection.recv(65_536)
        elapsed_s = time.monotonic() - began
        connection.settimeout(PATIENCE_S)
        while answer and (more := _closing(connection)):
            answer += more
    return answer, elapsed_s


def _closing(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65_536)
    except ConnectionResetError:
        return b""


def dripping(start: bytes, rest: bytes, size: int = 1) -> Iterator[bytes]:
    yield start
    for at in range(0, len(rest), size):
        yield rest[at : at + size]


def assert_too_slow(answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 "), answer
    assert b"application/problem+json" in head
    assert json.loads(body)["code"] == "body_too_slow"


def test_a_body_that_drips(quick: Stack) -> None:
    head = HEAD + b"Content-Length: 100000\r\n\r\n" + PART
    answer, elapsed_s = exchange(quick, dripping(head, b"-" * 1000), 0.1)
    assert_too_slow(answer)
    assert elapsed_s >= 0.9
    assert quick.inputs() == []


def test_a_chunked_body_that_drips(quick: Stack) -> None:
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(PART), PART)
    chunks = b"1\r\n-\r\n" * 200
    answer, _ = exchange(quick, dripping(head, chunks, 6), 0.1)
    assert_too_slow(answer)


def test_a_body_that_never_comes(quick: Stack) -> None:
    answer, elapsed_s = exchange(quick, [HEAD + b"Content-Length: 5000\r\n\r\n"], 0.1)
    assert_too_slow(answer)
    assert elapsed_s >= 0.9


def test_a_body_that_comes_steadily_and_for_too_long(quick: Stack) -> None:
    body = b"-" * 40_000_000
    head = HEAD + b"Content-Length: %d\r\n\r\n" % (len(PART) + len(body)) + PART
    answer, elapsed_s = exchange(quick, dripping(head, body, 200_000), 0.1)
    assert_too_slow(answer)
    assert elapsed_s >= 3.5


def test_a_slow_honest_body_is_waited_for(quick: Stack) -> None:
    body = form(filler=400_000)
    head = HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer, _ = exchange(quick, dripping(head, body, 50_000), 0.15)
    assert answer.startswith(b"HTTP/1.1 202 "), answer


def test_headers_that_drip_and_connections_that_say_nothing(quick: Stack) -> None:
    for pieces in (dripping(b"GET /healthz/live HTTP/1.1\r\n", b"X-Slow: " + b"a" * 1000), [b""]):
        answer, elapsed_s = exchange(quick, pieces, 0.1)
        assert answer == b""
        assert 0.9 <= elapsed_s < PATIENCE_S


def test_the_head_of_a_second_request_has_as_much_time(quick: Stack) -> None:
    first = b"GET /healthz/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    port = quick.server.servers[0].sockets[0].getsockname()[1]
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        for _ in range(3):
            connection.sendall(first)
            answer = b""
            while not answer.endswith(b'"alive"}'):
                answer += connection.recv(65_536)
            time.sleep(0.5)
        connection.sendall(b"GET /healthz/live HTTP/1.1\r\n")
        assert connection.recv(65_536) == b""


def test_an_answer_that_takes_long_is_not_cut_off(quick: Stack) -> None:
    record = quick.submitted()
    answer = quick.http.get(record["urls"]["self"], headers={"Prefer": "wait=3"})
    assert answer.status_code == 200
    assert answer.elapsed.total_seconds() >= 2.9


def test_a_body_that_is_too_large_ends_its_connection(start_stack: StartStack) -> None:
    stack = start_stack(quickly(max_body_bytes=50_000))
    head = HEAD + b"Content-Length: 60000\r\n\r\n"
    answer, elapsed_s = exchange(stack, dripping(head, b"-" * 1000), 0.05)
    assert answer.startswith(b"HTTP/1.1 413 "), answer
    assert b"connection: close" in answer.lower()
    assert elapsed_s < PATIENCE_S
