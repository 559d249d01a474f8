"""What a client may ask besides the picture: a deadline, a time to live, and words of its own."""

import json
import time
from datetime import datetime

import pytest

from jobs.garbage_collector import GarbageCollector
from tests.contract.http.conftest import Stack, StartStack
from tests.contract.http.player import claim, finish
from tests.contract.http.problems import problem


def status(stack: Stack, url: str) -> str:
    return str(stack.http.get(url).json()["status"])


def test_metadata_come_back_as_given(stack: Stack) -> None:
    given = {"layer": "12", "\N{PEACOCK}": 'a "b" \\ /', "empty": ""}
    record = stack.submitted(metadata=json.dumps(given))
    assert record["metadata"] == given
    assert stack.http.get(record["urls"]["self"]).json()["metadata"] == given
    assert stack.http.get("/v1/transfers").json()["items"][0]["metadata"] == given
    assert stack.submitted()["metadata"] == {}


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ("[]", "json_object_expected"),
        ("{", "json_invalid"),
        ('{"a": NaN}', "json_invalid"),
        ('{"a": "1", "a": "2"}', "duplicate_key"),
        ('{"a": 1}', "string_type"),
        ('{"a": {"b": "c"}}', "string_type"),
        ('{"a": null}', "string_type"),
        ('{"": "a"}', "string_too_short"),
        (json.dumps({"x" * 65: "a"}), "string_too_long"),
        (json.dumps({"a": "x" * 513}), "string_too_long"),
        (json.dumps({str(number): "" for number in range(17)}), "too_long"),
    ],
)
def test_other_metadata_are_refused(stack: Stack, metadata: str, code: str) -> None:
    (error,) = problem(stack.submit(metadata=metadata), 422, "invalid_request")["errors"]
    assert error["pointer"].startswith("/metadata")
    assert error["code"] == code
    assert stack.inputs() == []


@pytest.mark.parametrize("name", ["deadline", "ttl"])
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "soon", "31536001", "null"])
def test_times_are_whole_seconds(stack: Stack, name: str, value: str) -> None:
    (error,) = problem(stack.submit(**{name: value}), 422, "invalid_request")["errors"]
    assert error["pointer"] == f"/{name}"


def test_a_job_that_does_not_start_in_time_expires_with_its_event(stack: Stack) -> None:
    record = stack.submitted(deadline=1)
    later = stack.submitted(deadline=3600)
    assert (record["deadline"], later["deadline"]) == (1, 3600)
    states = []
    with stack.http.stream("GET", record["urls"]["events"]) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                states.append(json.loads(line.removeprefix("data: "))["status"])
            if not states or states[-1] == "queued":
                time.sleep(0.2)
                stack.store.reap()
    assert (states[0], states[-1]) == ("queued", "expired")
    last = stack.http.get(record["urls"]["self"]).json()
    waited = datetime.fromisoformat(last["finished_at"]) - datetime.fromisoformat(last["created_at"])
    assert waited.total_seconds() >= 1
    problem(stack.http.get(record["urls"]["result"]), 409, "job_expired")
    assert stack.http.get(later["urls"]["self"]).json()["queue_position"] == 1
    assert stack.http.post(f"{record['urls']['self']}/retry").json()["deadline"] == 1


def test_a_worker_is_not_given_a_job_that_is_late(stack: Stack) -> None:
    late, next_one = stack.submitted(deadline=1), stack.submitted()
    time.sleep(1.1)
    assert claim(stack).record.id == next_one["id"]
    assert status(stack, late["urls"]["self"]) == "expired"
    assert stack.store.claim("w2") is None


def test_a_deadline_is_for_the_start_only(stack: Stack) -> None:
    url = stack.submitted(deadline=1)["urls"]["self"]
    taken = claim(stack)
    time.sleep(1.1)
    assert stack.store.reap().expired == 0
    assert status(stack, url) == "running"
    assert stack.store.hand_back(taken)
    stack.store.reap()
    assert status(stack, url) == "queued"
    finish(stack, claim(stack))
    assert status(stack, url) == "succeeded"


def test_a_job_is_gone_after_its_own_time(stack: Stack) -> None:
    record, kept = stack.submitted(ttl=1), stack.submitted()
    assert (record["ttl"], kept["ttl"]) == (1, None)
    finish(stack, claim(stack))
    finish(stack, claim(stack))
    time.sleep(1.1)
    problem(stack.http.get(record["urls"]["self"]), 410, "job_gone")
    GarbageCollector(stack.stores, stack.objects).collect()
    assert len(stack.inputs()) == 2
    assert status(stack, kept["urls"]["self"]) == "succeeded"


def test_nothing_is_kept_longer_than_the_service_keeps_it(start_stack: StartStack) -> None:
    stack = start_stack(retention_s=1)
    url = stack.submitted(ttl=3600)["urls"]["self"]
    finish(stack, claim(stack))
    time.sleep(1.1)
    problem(stack.http.get(url), 410, "job_gone")
