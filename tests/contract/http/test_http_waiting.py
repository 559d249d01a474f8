"""Waiting and polling: `Prefer: wait`, entity tags, and the hint when to look again."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cli.stack.embedded import start_redis
from tests.contract.http.conftest import Stack, StartStack
from tests.contract.http.player import claim, finish, preview
from tests.contract.http.problems import problem


def test_a_job_that_ends_in_time_is_the_answer(stack: Stack) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(stack.submit, {"Prefer": "wait=20"})
        while (taken := stack.store.claim("w1")) is None:
            assert not waiting.done()
            time.sleep(0.01)
        finish(stack, taken)
        answer = waiting.result()
    assert answer.status_code == 200
    assert answer.json()["status"] == "succeeded"
    assert answer.json()["result"] is not None
    assert answer.headers["Location"] == answer.json()["urls"]["self"]
    assert answer.headers["Preference-Applied"] == "wait=20"
    assert "Retry-After" not in answer.headers
    assert answer.elapsed.total_seconds() < 15


def test_one_that_does_not_is_accepted(stack: Stack) -> None:
    answer = stack.submit({"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert answer.elapsed.total_seconds() >= 0.9
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_repeated_submission_may_wait_too(stack: Stack) -> None:
    headers = {"Idempotency-Key": "k"}
    first = stack.submit(headers)
    finish(stack, claim(stack))
    assert stack.submit(headers).json() == first.json()
    again = stack.submit({**headers, "Prefer": "wait=5"})
    assert (again.status_code, again.json()["status"]) == (200, "succeeded")
    assert (again.json()["id"], again.headers["Idempotency-Replayed"]) == (first.json()["id"], "true")


def test_looking_can_wait(stack: Stack) -> None:
    url = stack.submitted()["urls"]["self"]
    taken = claim(stack)
    threading.Timer(0.5, finish, (stack, taken)).start()
    answer = stack.http.get(url, headers={"Prefer": "respond-async, wait=20"})
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    assert answer.headers["Preference-Applied"] == "wait=20"


@pytest.mark.parametrize(
    "prefer", ["wait", "wait=", "wait=-1", "wait=soon", "return=minimal", "wait=0", "wait=1e9", ""]
)
def test_what_is_no_wait_is_ignored(stack: Stack, prefer: str) -> None:
    answer = stack.submit({"Prefer": prefer})
    assert answer.status_code == 202
    assert "Preference-Applied" not in answer.headers


def test_nobody_waits_for_more_than_a_minute(stack: Stack) -> None:
    url = stack.submitted()["urls"]["self"]
    finish(stack, claim(stack))
    assert stack.http.get(url, headers={"Prefer": "wait=86400"}).headers["Preference-Applied"] == "wait=60"


def test_a_lost_redis_does_not_cost_the_answer(
    start_stack: StartStack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("own")
    with start_redis(folder) as server:
        stack = start_stack(redis_url=server.url)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(stack.submit, {"Prefer": "wait=3"})
            while not stack.store.list_jobs(tenant="local").items:
                time.sleep(0.01)
            server.stop()
            answer = waiting.result()
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")


def test_a_server_that_stops_lets_nobody_wait(start_stack: StartStack) -> None:
    stack = start_stack()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(stack.submit, {"Prefer": "wait=60"})
        while not stack.store.list_jobs(tenant="local").items:
            time.sleep(0.01)
        stack.server.should_exit = True
        answer = waiting.result()
    assert answer.status_code == 202
    assert answer.elapsed.total_seconds() < 9


def test_nothing_new_is_304_until_something_is(stack: Stack) -> None:
    url = stack.submitted()["urls"]["self"]
    seen = set()
    tag = ""
    for change in (lambda: None, lambda: preview(stack, claim(stack)), lambda: stack.http.post(f"{url}/cancel")):
        change()
        answer = stack.http.get(url, headers={"If-None-Match": tag} if tag else {})
        assert answer.status_code == 200
        tag = answer.headers["ETag"]
        assert tag not in seen
        seen.add(tag)
        assert answer.headers["Cache-Control"] == "private, no-cache"
        for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
            same = stack.http.get(url, headers={"If-None-Match": known})
            assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", tag)
            assert same.headers["Retry-After"] == answer.headers["Retry-After"]
    problem(stack.http.get("/v1/transfers/abc", headers={"If-None-Match": tag}), 404, "job_not_found")


def test_the_hint_grows_with_the_line_and_ends_with_the_job(stack: Stack) -> None:
    hints = [int(stack.submit().headers["Retry-After"]) for _ in range(12)]
    assert hints == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10]
    taken = claim(stack)
    url = f"/v1/transfers/{taken.record.id}"
    assert stack.http.get(url).headers["Retry-After"] == "1"
    finish(stack, taken)
    assert "Retry-After" not in stack.http.get(url).headers
