"""What a client sees when something behind the API is away, full or broken."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from cli.stack.embedded import start_redis
from tests.contract.http.conftest import Stack, StartStack
from tests.contract.http.problems import problem


@pytest.fixture
def silent_url() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(params=["nobody", "silent"])
def lost_url(request: pytest.FixtureRequest, silent_url: str) -> str:
    return "unix:///nonexistent/redis.sock" if request.param == "nobody" else silent_url


def test_without_redis_a_submission_is_503_and_leaves_nothing(start_stack: StartStack, lost_url: str) -> None:
    stack = start_stack(redis_url=lost_url)
    stack.http.timeout = httpx.Timeout(3)  # the promise is 2 s
    problem(stack.submit(), 503, "store_unavailable")
    assert stack.inputs() == []


@pytest.mark.parametrize("path", ["", "/abc", "/abc/events", "/abc/result", "/abc/preview"])
def test_without_redis_every_question_is_503(start_stack: StartStack, path: str) -> None:
    stack = start_stack(redis_url="unix:///nonexistent/redis.sock")
    problem(stack.http.get(f"/v1/transfers{path}"), 503, "store_unavailable")


def test_redis_that_comes_back_is_used_again(start_stack: StartStack, tmp_path: Path) -> None:
    with start_redis(tmp_path / "own") as server:
        stack = start_stack(redis_url=server.url)
        first = stack.submitted()
        kept = stack.inputs()
    problem(stack.submit(), 503, "store_unavailable")
    problem(stack.http.get(first["urls"]["self"]), 503, "store_unavailable")
    assert stack.inputs() == kept
    with start_redis(tmp_path / "own"):
        assert stack.http.get(first["urls"]["self"]).json()["status"] == "queued"
        assert stack.submit().status_code == 202


def test_a_full_queue_is_503_and_leaves_nothing(start_stack: StartStack) -> None:
    stack = start_stack(max_queued=1)
    first = stack.submitted()
    kept = stack.inputs()
    problem(stack.submit(), 503, "queue_full")
    assert stack.inputs() == kept
    stack.http.post(first["urls"]["cancel"])
    assert stack.submit().status_code == 202


def test_an_object_store_that_fails_is_503_and_queues_nothing(start_stack: StartStack, tmp_path: Path) -> None:
    stack = start_stack()
    shutil.rmtree(tmp_path / "objects")
    (tmp_path / "objects").write_text("in the way")
    body = problem(stack.submit(), 503, "objects_unavailable")
    assert str(tmp_path) not in str(body)
    assert stack.http.get("/v1/transfers").json()["items"] == []


def test_a_broken_record_is_500_without_its_insides(stack: Stack, redis: Redis) -> None:
    record = stack.submitted()
    (key,) = [key for key in redis.scan_iter("*") if record["id"].encode() in key and redis.type(key) == b"hash"]
    redis.hset(key, "spec", "SECRET")
    response = stack.http.get(record["urls"]["self"])
    problem(response, 500, "internal_error")
    assert "SECRET" not in response.text
    assert "Traceback" not in response.text
    assert stack.submit().status_code == 202
