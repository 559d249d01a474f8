"""Several seeds in one submission: one job, one run, a picture for each."""

import hashlib
import json
import time
from typing import Any

import pytest

from jobs.garbage_collector import GarbageCollector
from jobs.schema import Status, WorkerState
from jobs.settings import JobSettings
from tests.contract.http import player
from tests.contract.http.conftest import REFERENCE, TARGET, Stack
from tests.contract.http.problems import problem
from tests.contract.http.real_worker import make_context
from worker.tasks import run_next

FAST = json.dumps({"num_inference_steps": 3, "strength": 1.0, "matching": {"ensemble_size": 1}})


def send(stack: Stack, *seeds: object, path: str = "/v1/transfers", **more: Any) -> Any:
    """A form that repeats `seeds`."""
    fields = [*(("seeds", seed) for seed in seeds), *more.items()]
    files: list[Any] = [("target", ("a.png", TARGET)), ("reference", ("b.jpg", REFERENCE))]
    return stack.http.post(path, files=[*files, *((name, (None, str(value))) for name, value in fields)])


def keep(stack: Stack, data: bytes) -> dict[str, str]:
    return {"asset": stack.http.post("/v1/assets", files={"file": ("a.png", data)}).json()["id"]}


def named(stack: Stack, **more: Any) -> dict[str, Any]:
    return {"target": keep(stack, TARGET), "reference": keep(stack, REFERENCE), **more}


def test_from_one_submission_to_a_picture_of_each_seed(stack: Stack, job_settings: JobSettings) -> None:
    job = send(stack, 5, 2, 11, params=FAST).json()
    assert (job["seed"], job["seeds"]) == (5, [5, 2, 11])
    run_next(make_context(stack, job_settings))
    record = stack.http.get(job["urls"]["self"]).json()
    assert record["error"] is None
    result = record["result"]
    assert [variant["seed"] for variant in result["variants"]] == record["seeds"]
    first = result["variants"][0]
    assert first == {name: result[name] for name in first}, "the first is the result itself"
    assert len({variant["sha256"] for variant in result["variants"]}) == 3
    for variant in result["variants"]:
        for path, file in (("result", variant), ("matches", variant["matches"])):
            data = stack.http.get(file["url"]).content
            assert hashlib.sha256(data).hexdigest() == file["sha256"]
            by_seed = stack.http.get(job["urls"][path], params={"seed": variant["seed"]})
            assert (by_seed.content, by_seed.headers["ETag"]) == (data, f'"{file["sha256"]}"')
        drawn = stack.http.get(job["urls"]["matches_picture"], params={"seed": variant["seed"]})
        assert hashlib.sha256(drawn.content).hexdigest() == variant["matches_picture"]["sha256"]
    assert stack.http.get(job["urls"]["result"]).headers["ETag"] == f'"{result["sha256"]}"'
    names = {stack.http.get(each["url"]).headers["Content-Disposition"] for each in result["variants"]}
    assert names == {f'attachment; filename="plumage-{job["id"]}{end}.png"' for end in ("", "-2", "-11")}
    assert GarbageCollector(stack.stores, stack.objects, leftover_age_s=0).collect() == 0
    assert stack.http.delete(job["urls"]["self"]).status_code == 204
    assert stack.objects.keys("results/") == stack.inputs() == []


def test_one_seed_has_one_variant_and_no_other(stack: Stack) -> None:
    job = stack.submitted(seed=7)
    assert (job["seed"], job["seeds"]) == (7, [7])
    problem(stack.http.get(job["urls"]["result"] + "?seed=7"), 409, "not_finished")
    player.finish(stack, player.claim(stack))
    result = stack.http.get(job["urls"]["self"]).json()["result"]
    (only,) = result["variants"]
    assert only == {name: result[name] for name in only}
    assert stack.http.get(job["urls"]["result"] + "?seed=7").content == player.PICTURE
    for path in ("result", "matches", "matches_picture"):
        problem(stack.http.get(job["urls"][path] + "?seed=8"), 404, "no_variant")
    wrong = problem(stack.http.get(job["urls"]["result"] + "?seed=-1"), 422, "invalid_request")
    assert wrong["errors"][0]["pointer"] == "/query/seed"


@pytest.mark.parametrize(
    ("seeds", "more", "pointer", "code"),
    [
        ((1, 1), {}, "/seeds", "seed_repeated"),
        (range(9), {}, "/seeds", "too_long"),
        ((1, -1), {}, "/seeds/1", "greater_than_equal"),
        ((1, "two"), {}, "/seeds/1", "int_parsing"),
        ((1, 2), {"seed": 1}, "/seeds", "seed_and_seeds"),
        (("[1, 2]",), {}, "/seeds/0", "int_parsing"),
    ],
)
def test_seeds_that_cannot_be_used(
    stack: Stack, seeds: tuple[object, ...], more: dict[str, Any], pointer: str, code: str
) -> None:
    for path in ("/v1/transfers", "/v1/dry_run/transfers"):
        refused = problem(send(stack, *seeds, path=path, **more), 422, "invalid_request")
        assert [(error["pointer"], error["code"]) for error in refused["errors"]] == [(pointer, code)]
    assert stack.inputs() == []


def test_matching_knows_no_seeds(stack: Stack) -> None:
    refused = problem(send(stack, 1, 2, path="/v1/matches"), 422, "invalid_request")
    assert [(error["pointer"], error["code"]) for error in refused["errors"]] == [("/seeds", "extra_forbidden")]
    refused = problem(stack.http.post("/v1/matches", json=named(stack, seeds=[1, 2])), 422, "invalid_request")
    assert [error["pointer"] for error in refused["errors"]] == ["/seeds"]


def test_json_has_a_list_and_it_is_part_of_what_a_key_stands_for(stack: Stack) -> None:
    body = named(stack, seeds=[3, 4])
    headers = {"Idempotency-Key": "one"}
    first = stack.http.post("/v1/transfers", json=body, headers=headers)
    assert (first.status_code, first.json()["seeds"]) == (202, [3, 4])
    assert stack.http.post("/v1/transfers", json=body, headers=headers).json() == first.json()
    for other in ({**body, "seeds": [4, 3]}, {**body, "seeds": [3]}):
        problem(stack.http.post("/v1/transfers", json=other, headers=headers), 422, "idempotency_key_reused")
    for wrong in ([], ["3"], None, 3):
        refused = problem(stack.http.post("/v1/transfers", json={**body, "seeds": wrong}), 422, "invalid_request")
        assert refused["errors"][0]["pointer"].startswith("/seeds")


def test_a_retry_makes_them_all(stack: Stack) -> None:
    job = send(stack, 3, 4).json()
    stack.http.post(job["urls"]["cancel"])
    again = stack.http.post(f"{job['urls']['self']}/retry")
    assert again.json()["seeds"] == [3, 4]
    assert player.claim(stack).record.spec.seeds == (3, 4)


def test_a_batch_has_seeds_for_all_and_a_job_its_own(stack: Stack) -> None:
    target, reference = keep(stack, TARGET), keep(stack, REFERENCE)
    own: list[dict[str, Any]] = [{}, {"seeds": [8, 9]}, {"seed": 6}]
    items = [{"custom_id": str(number), "target": target, **each} for number, each in enumerate(own)]
    body = {"reference": reference, "items": items, "seeds": [1, 2]}
    assert stack.http.post("/v1/batches", json=body).status_code == 202
    assert [player.claim(stack).record.spec.seeds for _ in items] == [(1, 2), (8, 9), (6,)]
    wrong = {**body, "items": [{**items[0], "seed": 1, "seeds": [1, 2]}]}
    refused = problem(stack.http.post("/v1/batches", json=wrong), 422, "invalid_request")
    assert [error["pointer"] for error in refused["errors"]] == ["/items/0/seeds"]


def test_the_estimate_grows_with_the_pictures(stack: Stack) -> None:
    send(stack, 1, 2)
    claimed = player.claim(stack)
    time.sleep(0.4)
    player.finish(stack, claimed)
    run_s = [send(stack, *range(count), path="/v1/dry_run/transfers").json() for count in (1, 2, 8)]
    assert [found["pictures"] for found in run_s] == [1, 2, 8]
    one, two, eight = (found["estimate"]["run_s"] for found in run_s)
    assert 0.1 <= one < two < eight
    assert eight == pytest.approx(8 * one, abs=0.45)
    stack.submitted()
    player.announce(stack, WorkerState.READY)
    waiting = send(stack, 1, path="/v1/dry_run/transfers").json()["estimate"]
    assert waiting["start_s"] == pytest.approx(two, abs=0.11), "the job in front of it is taken to be like the latest"


def test_an_attempt_that_lost_the_job_leaves_nothing(stack: Stack) -> None:
    job = send(stack, 3, 4).json()
    lost = player.claim(stack)
    stack.http.post(job["urls"]["cancel"])
    assert not stack.store.commit(lost, player.put_result(stack, lost))
    assert stack.store.finish_canceled(lost)
    assert len(stack.objects.keys("results/")) == 6
    GarbageCollector(stack.stores, stack.objects, leftover_age_s=0).collect()
    assert stack.objects.keys("results/") == []
    assert stack.http.get(job["urls"]["self"]).json()["status"] == Status.CANCELED
