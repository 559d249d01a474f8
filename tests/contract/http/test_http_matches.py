"""Matches alone: the same kind of job behind a door of its own."""

import json
from typing import Any

from tests.contract.http import player
from tests.contract.http.conftest import REFERENCE, TARGET, Stack
from tests.contract.http.problems import problem


def submit(stack: Stack, **fields: Any) -> Any:
    parts = {"target": ("a.png", TARGET), "reference": ("b.jpg", REFERENCE)}
    given = {name: (None, str(value)) for name, value in fields.items()}
    return stack.http.post("/v1/matches", files={**parts, **given})


def test_from_queue_to_map(stack: Stack) -> None:
    answer = submit(stack, seed=5, priority=3, deadline=60, ttl=600, metadata='{"a": "b"}')
    assert answer.status_code == 202, answer.text
    record = answer.json()
    assert answer.headers["Location"] == record["urls"]["self"] == f"/v1/matches/{record['id']}"
    assert set(record["urls"]) == {"self", "events", "cancel", "result", "picture"}
    asked = {name: record[name] for name in ("seed", "priority", "deadline", "ttl", "metadata")}
    assert asked == {"seed": 5, "priority": 3, "deadline": 60, "ttl": 600, "metadata": {"a": "b"}}
    problem(stack.http.get(record["urls"]["result"]), 409, "not_finished")

    player.finish(stack, player.claim(stack))
    done = stack.http.get(record["urls"]["self"]).json()
    assert done["status"] == "succeeded"
    assert (done["result"]["seed"], done["result"]["model"]) == (5, player.MODEL.model_dump())
    assert done["result"]["timings"]["total"] == 20.0
    numbers = stack.http.get(record["urls"]["result"])
    assert (numbers.content, numbers.headers["Content-Type"]) == (player.MAP, "application/zip")
    assert stack.http.get(done["result"]["url"]).content == player.MAP
    picture = stack.http.get(record["urls"]["picture"])
    assert (picture.content, picture.headers["Content-Type"]) == (player.PICTURE, "image/png")
    assert stack.http.get(done["result"]["picture"]["url"]).content == player.PICTURE


def test_its_events_are_records_too(stack: Stack) -> None:
    record = submit(stack).json()
    player.finish(stack, player.claim(stack))
    with stack.http.stream("GET", record["urls"]["events"]) as stream:
        lines = [line.partition(": ") for line in stream.iter_lines()]
    told = {name: value for name, _, value in lines}
    assert told["event"] == "matching"
    assert json.loads(told["data"]) == stack.http.get(record["urls"]["self"]).json()


def test_each_kind_of_job_is_behind_its_own_door(stack: Stack) -> None:
    matching, transfer = submit(stack).json(), stack.submitted()
    for path in ("", "/events", "/result", "/matches", "/matches/picture", "/preview"):
        problem(stack.http.get(f"/v1/transfers/{matching['id']}{path}"), 404, "job_not_found")
    for path in ("", "/events", "/result", "/picture"):
        problem(stack.http.get(f"/v1/matches/{transfer['id']}{path}"), 404, "job_not_found")
    for path in ("cancel", "retry"):
        problem(stack.http.post(f"/v1/transfers/{matching['id']}/{path}"), 404, "job_not_found")
        problem(stack.http.post(f"/v1/matches/{transfer['id']}/{path}"), 404, "job_not_found")
    problem(stack.http.delete(f"/v1/matches/{transfer['id']}"), 404, "job_not_found")
    problem(stack.http.delete(f"/v1/transfers/{matching['id']}"), 404, "job_not_found")
    for path, job in (("/v1/transfers", transfer), ("/v1/matches", matching)):
        listed = stack.http.get(path).json()
        assert ([item["id"] for item in listed["items"]], listed["next"]) == ([job["id"]], None)


def test_cancel_retry_and_delete(stack: Stack) -> None:
    record = submit(stack).json()
    canceled = stack.http.post(record["urls"]["cancel"])
    assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
    again = stack.http.post(record["urls"]["self"] + "/retry")
    assert again.status_code == 202
    assert again.json()["urls"]["self"].startswith("/v1/matches/")
    assert player.claim(stack).record.spec.kind == "matches"
    assert stack.http.delete(record["urls"]["self"]).status_code == 204
    problem(stack.http.get(record["urls"]["self"]), 410, "job_gone")


def test_a_key_does_not_confuse_the_kinds(stack: Stack) -> None:
    headers = {"Idempotency-Key": "one"}
    parts = {"target": ("a.png", TARGET), "reference": ("b.jpg", REFERENCE)}
    assert stack.http.post("/v1/matches", files=parts, headers=headers).status_code == 202
    problem(stack.http.post("/v1/transfers", files=parts, headers=headers), 422, "idempotency_key_reused")


def test_what_only_a_transfer_has_is_refused(stack: Stack) -> None:
    refused = problem(submit(stack, output='{"format": "webp"}'), 422, "invalid_request")
    assert refused["errors"][0]["pointer"] == "/output"
