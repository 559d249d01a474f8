"""Deleting, running again, and finding jobs by their state."""

from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from jobs.garbage_collector import GarbageCollector
from jobs.schema import JobError
from tests.contract.http.conftest import Stack, StartStack
from tests.contract.http.player import claim, finish, preview
from tests.contract.http.problems import problem

FAILED = JobError(code="non_finite", message="The model made no picture.")
SECRET = "a-very-private-prompt"


def all_objects(stack: Stack) -> list[str]:
    return [key for kind in ("inputs/", "results/", "previews/") for key in stack.objects.keys(kind)]


def fail(stack: Stack) -> None:
    assert stack.store.fail(claim(stack), FAILED)


def cancel(stack: Stack) -> None:
    (job,) = stack.store.list_jobs(tenant="local").items
    stack.store.request_cancel(job.id, tenant="local")


def succeed(stack: Stack) -> None:
    taken = claim(stack)
    preview(stack, taken)
    finish(stack, taken)


def wait(stack: Stack) -> None:
    """Leaves the job in the line."""


@pytest.mark.parametrize("bring_about", [wait, succeed, fail, cancel])
def test_of_a_deleted_job_nothing_is_left(stack: Stack, redis: Redis, bring_about: Callable[[Stack], None]) -> None:
    url = stack.submitted(headers={"Idempotency-Key": "k"}, prompt=SECRET)["urls"]["self"]
    bring_about(stack)
    answer = stack.http.delete(url)
    assert (answer.status_code, answer.content) == (204, b"")
    assert all_objects(stack) == []
    assert SECRET.encode() not in b"".join(redis.dump(name) or b"" for name in redis.scan_iter("*"))
    for method, path in (("GET", ""), ("GET", "/result"), ("GET", "/events"), ("POST", "/cancel"), ("DELETE", "")):
        problem(stack.http.request(method, url + path), 410, "job_gone")
    assert stack.http.get("/v1/transfers").json()["items"] == []
    assert stack.store.claim("w1") is None
    assert stack.stores.cleanup_queue.expired(10) == []
    problem(stack.submit({"Idempotency-Key": "k"}, prompt=SECRET), 410, "job_gone")


def test_the_jobs_behind_a_deleted_one_move_up(stack: Stack) -> None:
    first, second = stack.submitted(), stack.submitted()
    stack.http.delete(first["urls"]["self"])
    assert stack.http.get(second["urls"]["self"]).json()["queue_position"] == 1
    assert claim(stack).record.id == second["id"]


def test_a_running_job_has_to_be_canceled_first(stack: Stack) -> None:
    record = stack.submitted()
    taken = claim(stack)
    problem(stack.http.delete(record["urls"]["self"]), 409, "invalid_transition")
    stack.http.post(record["urls"]["cancel"])
    problem(stack.http.delete(record["urls"]["self"]), 409, "invalid_transition")
    assert stack.store.finish_canceled(taken)
    assert stack.http.delete(record["urls"]["self"]).status_code == 204


def test_what_a_lost_worker_writes_after_the_end_is_collected(stack: Stack) -> None:
    record = stack.submitted()
    taken = claim(stack)
    stack.http.post(record["urls"]["cancel"])
    assert stack.store.finish_canceled(taken)
    assert stack.http.delete(record["urls"]["self"]).status_code == 204
    stack.objects.put(f"results/local/{record['id']}/1/image.png", b"late", "image/png")
    GarbageCollector(stack.stores, stack.objects, leftover_age_s=0).collect()
    assert all_objects(stack) == []


def test_objects_that_cannot_be_deleted_now_are_deleted_later(start_stack: StartStack, tmp_path: Path) -> None:
    stack = start_stack()
    url = stack.submitted()["urls"]["self"]
    (tmp_path / "objects").rename(tmp_path / "away")
    (tmp_path / "objects").write_text("in the way")
    assert stack.http.delete(url).status_code == 204
    problem(stack.http.get(url), 410, "job_gone")
    (tmp_path / "objects").unlink()
    (tmp_path / "away").rename(tmp_path / "objects")
    assert len(stack.inputs()) == 2
    GarbageCollector(stack.stores, stack.objects).collect()
    assert stack.inputs() == []


@pytest.mark.parametrize("bring_about", [fail, cancel])
def test_a_retry_is_a_new_job_that_asks_for_the_same(stack: Stack, bring_about: Callable[[Stack], None]) -> None:
    old = stack.submitted(prompt="a", seed=7, params='{"eta": 0.5}')
    bring_about(stack)
    answer = stack.http.post(f"{old['urls']['self']}/retry")
    assert answer.status_code == 202
    new = answer.json()
    assert answer.headers["Location"] == new["urls"]["self"] != old["urls"]["self"]
    same = ("seed", "prompt", "negative_prompt", "params")
    assert [new[name] for name in same] == [old[name] for name in same]
    before = stack.http.get(old["urls"]["self"]).json()
    assert before["status"] in ("failed", "canceled")
    assert stack.http.delete(old["urls"]["self"]).status_code == 204  # its inputs go, the new job's stay
    inputs = claim(stack).record.spec.inputs
    assert stack.inputs() == sorted([inputs.reference, inputs.target])
    assert all(new["id"] in name for name in stack.inputs())


def test_a_retry_with_a_key_is_one(stack: Stack) -> None:
    first, second = (stack.submitted(seed=seed)["urls"]["self"] for seed in (1, 2))
    fail(stack)
    fail(stack)
    key = {"Idempotency-Key": "k"}
    answers = [stack.http.post(f"{first}/retry", headers=key) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["Idempotency-Replayed"] == "true"
    problem(stack.http.post(f"{second}/retry", headers=key), 422, "idempotency_key_reused")
    problem(stack.submit(key, seed=1), 422, "idempotency_key_reused")
    assert len(stack.http.get("/v1/transfers").json()["items"]) == 3


def test_what_has_not_failed_is_not_run_again(stack: Stack) -> None:
    url = stack.submitted()["urls"]["self"]
    problem(stack.http.post(f"{url}/retry"), 409, "invalid_transition")
    taken = claim(stack)
    problem(stack.http.post(f"{url}/retry"), 409, "invalid_transition")
    finish(stack, taken)
    body = problem(stack.http.post(f"{url}/retry"), 409, "invalid_transition")
    assert body["job_status"] == "succeeded"
    problem(stack.http.post("/v1/transfers/abc/retry"), 404, "job_not_found")


def test_without_its_pictures_a_job_cannot_be_run_again(stack: Stack) -> None:
    record = stack.submitted()
    fail(stack)
    stack.objects.delete(f"inputs/local/{record['id']}/reference.png")
    problem(stack.http.post(f"{record['urls']['self']}/retry"), 410, "inputs_gone")
    assert stack.inputs() == [f"inputs/local/{record['id']}/target.png"]


def test_a_retry_counts_against_the_bound(start_stack: StartStack) -> None:
    stack = start_stack(max_queued=1)
    url = stack.submitted()["urls"]["self"]
    fail(stack)
    stack.submitted()
    kept = stack.inputs()
    problem(stack.http.post(f"{url}/retry"), 503, "queue_full")
    assert stack.inputs() == kept


def test_pages_of_one_state_are_full(stack: Stack) -> None:
    ids = [stack.submitted()["id"] for _ in range(12)]
    for job_id in ids[::3]:
        stack.http.post(f"/v1/transfers/{job_id}/cancel")
    found: list[str] = []
    sizes: list[int] = []
    query: dict[str, str] = {"status": "canceled", "limit": "3"}
    while "cursor" not in query or query["cursor"]:
        page = stack.http.get("/v1/transfers", params=query).json()
        sizes.append(len(page["items"]))
        found += [item["id"] for item in page["items"]]
        query["cursor"] = page["next"] or ""
    assert found == ids[::3][::-1]
    assert sizes[0] == 3
