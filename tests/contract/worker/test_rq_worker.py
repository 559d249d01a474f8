"""What lies in the RQ queue is only ever a ticket."""

import json
import os
import pickle
import signal
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis
from rq import Callback, Queue
from rq.serializers import JSONSerializer
from structlog.testing import capture_logs

from jobs.stores.ticket_queue import TASK_NAME, TicketQueue
from worker.rq_worker import make_worker, ticket_name
from worker.shutdown import Shutdown

TICKET = zlib.compress(json.dumps([TASK_NAME, None, [], {}]).encode())


class Bomb:
    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self._canary}",)


def serve(url: str, task: Callable[[], None]) -> list[str]:
    """Works until the queue is empty; returns the names of the log events."""
    with capture_logs() as logs, Redis.from_url(url) as connection:
        worker = make_worker(connection, "plumage", {TASK_NAME: task}, Shutdown(1.0))
        worker.work(burst=True, logging_level="WARNING")
    return [event["event"] for event in logs]


def push(redis: Redis, fields: dict[str, bytes | str], job_id: str = "forged") -> None:
    redis.hset(f"rq:job:{job_id}", mapping=fields)  # type: ignore[arg-type]
    redis.sadd("rq:queues", "rq:queue:plumage")
    redis.rpush("rq:queue:plumage", job_id)


def test_each_ticket_runs_the_task_once_and_leaves_nothing(redis: Redis, worker_url: str) -> None:
    TicketQueue(redis, "plumage").issue(120)
    runs: list[int] = []
    assert serve(worker_url, lambda: runs.append(1)) == []
    assert len(runs) == 120
    assert redis.keys("rq:job:*") == []
    assert redis.keys("rq:results:*") == []
    assert redis.llen("rq:queue:plumage:intermediate") == 0


def test_a_task_that_raises_leaves_the_worker_alive(redis: Redis, worker_url: str) -> None:
    TicketQueue(redis, "plumage").issue(2)
    runs: list[int] = []

    def task() -> None:
        runs.append(1)
        raise RuntimeError("a fault of ours")

    assert serve(worker_url, task) == ["ticket.error", "ticket.error"]
    assert len(runs) == 2


def entry(canary: Path, kind: str) -> dict[str, bytes | str]:
    command = f"touch {canary}"
    bomb = pickle.dumps(Bomb(canary))
    forged: dict[str, dict[str, bytes | str]] = {
        "json": {"data": zlib.compress(json.dumps(["os.system", None, [command], {}]).encode())},
        "pickle": {"data": zlib.compress(pickle.dumps(("os.system", None, (command,), {})))},
        "pickle bomb": {"data": bomb},
        "instance": {"data": zlib.compress(json.dumps([TASK_NAME, "os", [], {}]).encode())},
        "arguments": {"data": zlib.compress(json.dumps([TASK_NAME, None, [command], {}]).encode())},
        "other task of ours": {"data": zlib.compress(json.dumps(["worker.tasks.public_error", None, [], {}]).encode())},
        "not json": {"data": b"\xff\xfe"},
        "zip bomb": {"data": zlib.compress(b"[" * 50_000_000)},
        "no data": {"origin": "plumage"},
    }
    return forged[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "json",
        "pickle",
        "pickle bomb",
        "instance",
        "arguments",
        "other task of ours",
        "not json",
        "zip bomb",
        "no data",
    ],
)
def test_a_forged_entry_is_refused_and_the_worker_goes_on(
    redis: Redis, worker_url: str, tmp_path: Path, kind: str
) -> None:
    canary = tmp_path / "canary"
    push(redis, entry(canary, kind))
    TicketQueue(redis, "plumage").issue()
    runs: list[int] = []
    events = serve(worker_url, lambda: runs.append(1))
    assert events == ([] if kind == "no data" else ["ticket.refused"])
    assert runs == [1]
    assert not canary.exists()


def test_rqs_own_way_to_enqueue_a_callable_is_refused(redis: Redis, worker_url: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    Queue("plumage", connection=redis, serializer=JSONSerializer).enqueue("os.system", f"touch {canary}")
    Queue("plumage", connection=redis).enqueue("os.system", f"touch {canary}")
    assert serve(worker_url, lambda: None) == ["ticket.refused", "ticket.refused"]
    assert not canary.exists()


@pytest.mark.parametrize("outcome", ["success", "failure"])
def test_callbacks_of_an_entry_are_not_called(redis: Redis, worker_url: str, outcome: str) -> None:
    queue = Queue("plumage", connection=redis, serializer=JSONSerializer)
    callbacks = {f"on_{outcome}": Callback("tests.contract.test_tickets.no_such_function")}
    queue.enqueue(TASK_NAME, **callbacks)
    runs: list[int] = []

    def task() -> None:
        runs.append(1)
        if outcome == "failure":
            raise RuntimeError

    assert serve(worker_url, task) == (["ticket.error"] if outcome == "failure" else [])
    assert runs == [1]


@pytest.mark.parametrize(
    "field",
    [{"meta": pickle.dumps({})}, {"status": "nonsense"}, {"timeout": "x"}, {"webhooks": "[1]"}, {"result": b"\0"}],
)
def test_strange_fields_of_a_ticket_do_no_harm(redis: Redis, worker_url: str, field: dict[str, bytes | str]) -> None:
    push(redis, {"data": TICKET, **field})
    runs: list[int] = []
    assert serve(worker_url, lambda: runs.append(1)) == []
    assert runs == [1]


def test_the_name_of_a_ticket() -> None:
    assert ticket_name(TICKET) == TASK_NAME
    assert ticket_name(zlib.compress(b'["os.system", null, [], {}]')) == "os.system"
    assert ticket_name(b"") is None
    assert ticket_name(zlib.compress(b"[" * 1000)) is None


def test_a_worker_that_is_done_leaves_signals_as_they_were(redis: Redis, worker_url: str) -> None:
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in signals]
    inside: list[object] = []
    TicketQueue(redis, "plumage").issue(1)
    serve(worker_url, lambda: inside.extend(signal.getsignal(number) for number in signals))
    assert [signal.getsignal(number) for number in signals] == before
    assert not set(inside) & set(before)
