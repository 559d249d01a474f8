"""Server-sent events over a real connection."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.stack.embedded import start_redis
from service import streaming
from tests.contract.http import player
from tests.contract.http.conftest import TARGET, Stack, StartStack
from tests.contract.http.problems import problem


def read(response: httpx.Response) -> Iterator[dict[str, str]]:
    """Events as dicts of their fields; a comment is an event with the field `""`."""
    event: dict[str, str] = {}
    for line in response.iter_lines():
        if not line:
            yield event
            event = {}
        else:
            name, _, value = line.partition(":")
            event[name] = value.removeprefix(" ")


def snapshot(event: dict[str, str]) -> dict[str, Any]:
    assert event["event"] == "transfer"
    found: dict[str, Any] = json.loads(event["data"])
    return found


def test_a_stream_tells_every_state_and_closes_after_the_last(stack: Stack) -> None:
    record = stack.submitted()
    with stack.http.stream("GET", record["urls"]["events"]) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        stream = read(response)
        assert next(stream) == {"retry": "1000"}
        assert snapshot(next(stream)) == record
        claimed = player.claim(stack)
        assert snapshot(next(stream))["status"] == "running"
        player.preview(stack, claimed, step=6)
        assert snapshot(next(stream))["progress"]["step"] == 6
        player.finish(stack, claimed)
        last = snapshot(next(stream))
        assert last["status"] == "succeeded"
        assert list(stream) == []
    assert last == stack.http.get(record["urls"]["self"]).json()


def test_a_stream_of_a_finished_job_is_one_event(stack: Stack) -> None:
    record = stack.submitted()
    canceled = stack.http.post(record["urls"]["cancel"]).json()
    response = stack.http.get(record["urls"]["events"])
    told = [event for event in read(response) if "data" in event]
    assert [snapshot(event) for event in told] == [canceled]


def test_a_client_that_comes_back_is_not_told_again(stack: Stack) -> None:
    record = stack.submitted()
    with stack.http.stream("GET", record["urls"]["events"]) as response:
        stream = read(response)
        next(stream)
        last_id = next(stream)["id"]
    with stack.http.stream("GET", record["urls"]["events"], headers={"Last-Event-ID": last_id}) as response:
        stream = read(response)
        next(stream)
        stack.http.post(record["urls"]["cancel"])
        assert snapshot(next(stream))["status"] == "canceled"


def test_a_silent_stream_is_kept_open_by_comments(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "HEARTBEAT_S", 0.1)
    record = stack.submitted()
    with stack.http.stream("GET", record["urls"]["events"]) as response:
        stream = read(response)
        next(stream)
        next(stream)
        assert next(stream) == {"": "ping"}
        assert next(stream) == {"": "ping"}


def test_a_client_that_leaves_does_not_disturb_the_service(stack: Stack) -> None:
    record = stack.submitted()
    for _ in range(3):
        with stack.http.stream("GET", record["urls"]["events"]) as response:
            next(read(response))
    assert stack.http.get(record["urls"]["self"]).json()["status"] == "queued"


def test_streams_end_when_the_process_stops(start_stack: StartStack) -> None:
    stack = start_stack()
    record = stack.submitted()
    with stack.http.stream("GET", record["urls"]["events"]) as response:
        stream = read(response)
        next(stream)
        next(stream)
        stack.server.should_exit = True
        assert list(stream) == []


def test_a_stream_outlives_an_outage_of_redis(start_stack: StartStack, tmp_path: Path) -> None:
    with ExitStack() as first_life:
        redis_server = first_life.enter_context(start_redis(tmp_path / "own"))
        stack = start_stack(redis_url=redis_server.url)
        record = stack.submitted()
        response = first_life.enter_context(stack.http.stream("GET", record["urls"]["events"]))
        stream = read(response)
        next(stream)
        next(stream)
        redis_server.stop()
        problem(stack.http.get(record["urls"]["self"]), 503, "store_unavailable")
        with start_redis(tmp_path / "own"):
            stack.http.post(record["urls"]["cancel"])
            assert snapshot(next(stream))["status"] == "canceled"


def test_a_batch_is_told_whole_whenever_its_counts_change(stack: Stack) -> None:
    batch = submitted_batch(stack)
    with stack.http.stream("GET", batch["urls"]["events"]) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        stream = read(response)
        assert next(stream) == {"retry": "1000"}
        first = next(stream)
        assert (first["event"], json.loads(first["data"])) == ("batch", batch)
        player.finish(stack, player.claim(stack))
        second = next(stream)
        assert json.loads(second["data"])["counts"]["succeeded"] == 1
    with stack.http.stream("GET", batch["urls"]["events"], headers={"Last-Event-ID": second["id"]}) as response:
        stream = read(response)
        next(stream)
        stack.http.post(batch["urls"]["cancel"])
        last = json.loads(next(stream)["data"])
        assert (last["status"], last["counts"]["canceled"]) == ("ended", 1)
        assert list(stream) == []
    assert last == stack.http.get(batch["urls"]["self"]).json()


def test_the_stream_of_a_batch_that_is_over_or_gone(stack: Stack) -> None:
    batch = submitted_batch(stack)
    stack.http.post(batch["urls"]["cancel"])
    told = [event for event in read(stack.http.get(batch["urls"]["events"])) if "data" in event]
    assert [json.loads(event["data"])["status"] for event in told] == ["ended"]
    assert stack.http.delete(batch["urls"]["self"]).status_code == 204
    problem(stack.http.get(batch["urls"]["events"]), 410, "batch_gone")
    problem(stack.http.get("/v1/batches/unknown/events"), 404, "batch_not_found")


def submitted_batch(stack: Stack) -> dict[str, Any]:
    """Of two transfers."""
    asset = {"asset": stack.http.post("/v1/assets", files={"file": ("a.png", TARGET)}).json()["id"]}
    items = [{"custom_id": name, "target": asset} for name in "ab"]
    batch: dict[str, Any] = stack.http.post("/v1/batches", json={"reference": asset, "items": items}).json()
    return batch
