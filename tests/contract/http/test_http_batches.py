"""Batches: many transfers, submitted, looked at, canceled and deleted as one."""

import json
from typing import Any

import httpx
from PIL import Image
from redis import Redis

from jobs.garbage_collector import GarbageCollector
from jobs.schema import JobError, Status
from service.settings import ServiceSettings
from tests.contract.http import player
from tests.contract.http.conftest import REFERENCE, TARGET, Stack, StartStack
from tests.contract.http.problems import problem
from tests.pictures import SIZE, decoded, encoded, gradient

OTHER = encoded(gradient().rotate(180))


def keep(stack: Stack, data: bytes) -> dict[str, str]:
    answer = stack.http.post("/v1/assets", files={"file": ("a.png", data)})
    assert answer.status_code in (200, 201), answer.text
    return {"asset": answer.json()["id"]}


def request(stack: Stack, **more: Any) -> dict[str, Any]:
    """One reference onto three targets."""
    targets = keep(stack, TARGET), keep(stack, OTHER), keep(stack, TARGET)
    items = [{"custom_id": f"n{number}", "target": target} for number, target in enumerate(targets)]
    return {"reference": keep(stack, REFERENCE), "items": items, **more}


def submit(stack: Stack, body: Any, **headers: str) -> httpx.Response:
    return stack.http.post("/v1/batches", json=body, headers=headers)


def submitted(stack: Stack, **more: Any) -> dict[str, Any]:
    answer = submit(stack, request(stack, **more))
    assert answer.status_code == 202, answer.text
    record: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == record["urls"]["self"] == f"/v1/batches/{record['id']}"
    return record


def counts(**found: int) -> dict[str, int]:
    return {status: found.get(status, 0) for status in Status}


def items(stack: Stack, batch: dict[str, Any], query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.http.get(batch["urls"]["items"] + query).json()["items"]
    return found


def lines(stack: Stack, batch: dict[str, Any]) -> list[dict[str, Any]]:
    answer = stack.http.get(batch["urls"]["results"])
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/jsonl")
    return [json.loads(line) for line in answer.text.splitlines()]


def test_from_one_request_to_all_results(stack: Stack) -> None:
    batch = submitted(stack, metadata={"order": "12"}, seed=7, prompt="a peacock", params={"num_inference_steps": 9})
    assert (batch["status"], batch["total"], batch["counts"]["queued"]) == ("running", 3, 3)
    assert (batch["metadata"], batch["finished_at"]) == ({"order": "12"}, None)
    members = items(stack, batch)
    assert [(each["custom_id"], each["status"]) for each in members] == [(f"n{n}", "queued") for n in range(3)]
    assert lines(stack, batch) == []

    first = player.claim(stack)
    assert first.record.id == members[0]["id"], "in the order in which they were given"
    assert (first.record.spec.seed, first.record.spec.params.num_inference_steps) == (7, 9)
    assert decoded(stack.objects.get(first.record.spec.inputs.target)).tobytes() == decoded(TARGET).tobytes()
    assert stack.http.get(batch["urls"]["self"]).json()["counts"]["running"] == 1
    player.finish(stack, first)
    assert stack.store.fail(player.claim(stack), JobError(code="internal", message="Asked for."))
    assert [each["custom_id"] for each in lines(stack, batch)] == ["n0", "n1"]
    player.finish(stack, player.claim(stack))

    done = stack.http.get(batch["urls"]["self"])
    assert (done.json()["status"], done.json()["counts"]) == ("ended", counts(succeeded=2, failed=1))
    assert done.json()["finished_at"] is not None
    assert "Retry-After" not in done.headers
    assert stack.http.get(batch["urls"]["self"], headers={"If-None-Match": done.headers["ETag"]}).status_code == 304
    assert [each["id"] for each in items(stack, batch, "?status=failed")] == [members[1]["id"]]
    results = lines(stack, batch)
    assert [each["custom_id"] for each in results] == ["n0", "n1", "n2"]
    for line, member in zip(results, members, strict=True):
        assert line["transfer"] == stack.http.get(member["url"]).json()
        assert line["transfer"]["batch"] == batch["id"]
    assert stack.http.get(results[0]["transfer"]["result"]["url"]).content == player.PICTURE


def test_pairs_and_what_each_says_for_itself(stack: Stack) -> None:
    target, reference, mask = keep(stack, TARGET), keep(stack, OTHER), keep(stack, encoded(Image.new("L", SIZE, 255)))
    own = {"seed": 1, "prompt": "own", "negative_prompt": "none", "metadata": {"a": "b"}}
    pairs = [
        {"custom_id": "a", "target": target, "reference": reference, "target_mask": mask, **own},
        {"custom_id": "b", "target": reference, "reference": target},
    ]
    answer = submit(stack, {"items": pairs, "prompt": "shared", "priority": 2, "deadline": 60, "ttl": 600})
    assert answer.status_code == 202, answer.text
    one, two = (player.claim(stack).record.spec for _ in range(2))
    assert (one.seed, one.prompt, one.negative_prompt, one.metadata) == (1, "own", "none", {"a": "b"})
    assert (two.prompt, two.metadata, two.priority, two.deadline_s, two.ttl_s) == ("shared", {}, 2, 60, 600)
    assert (one.inputs.target, one.inputs.reference) == (two.inputs.reference, two.inputs.target)
    assert one.inputs.target_mask is not None
    assert two.inputs.target_mask is None
    assert decoded(stack.objects.get(one.inputs.target_mask)).mode == "L"
    assert len(stack.inputs()) == 3, "each picture once"


def test_what_cannot_be_a_batch(stack: Stack) -> None:
    body = request(stack)
    first, *others = body["items"]
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({**body, "items": []}, "/items", "too_short"),
        ({**body, "items": [first] * 1001}, "/items", "too_long"),
        ({**body, "items": [first, first]}, "", "custom_id_repeated"),
        ({"items": body["items"]}, "", "reference_missing"),
        ({**body, "items": [{**first, "custom_id": ""}]}, "/items/0/custom_id", "string_too_short"),
        ({**body, "items": [first, {**others[0], "seed": -1}]}, "/items/1/seed", "greater_than_equal"),
        ({**body, "items": [{**first, "prompt": None}]}, "/items/0/prompt", "null"),
        ({**body, "items": [{**first, "target": {"url": "https://a.example/b"}}]}, "/items/0/target/asset", "missing"),
        ({**body, "seed": "5"}, "/seed", "int_type"),
        ({**body, "target": first["target"]}, "/target", "extra_forbidden"),
    ]
    for wrong, pointer, code in cases:
        refused = problem(submit(stack, wrong), 422, "invalid_request")
        found = [(error["pointer"], error["code"]) for error in refused["errors"]]
        assert (pointer, code) in found, found
    problem(stack.http.post("/v1/batches", files={"items": ("a", b"x")}), 415, "unsupported_media_type")
    assert stack.inputs() == []


def test_every_picture_that_cannot_be_used_is_named(stack: Stack) -> None:
    body = request(stack)
    unknown = {"asset": "0" * 64}
    wrong = {**body, "items": [body["items"][0], {"custom_id": "x", "target": unknown, "target_mask": unknown}]}
    refused = problem(submit(stack, wrong), 404, "asset_not_found")
    assert [error["pointer"] for error in refused["errors"]] == ["/items/1/target", "/items/1/target_mask"]
    small = keep(stack, encoded(gradient(size=(SIZE[0], SIZE[1] + 1))))
    masked = {**body, "items": [{**item, "target_mask": small} for item in body["items"]]}
    refused = problem(submit(stack, masked), 422, "mask_size_mismatch")
    assert [error["pointer"] for error in refused["errors"]] == [f"/items/{n}/target_mask" for n in range(3)]
    transparent = {"custom_id": "t", "target": keep(stack, encoded(gradient("RGBA")))}
    jpeg = {**body, "items": [*body["items"], transparent], "output": {"format": "jpeg"}}
    refused = problem(submit(stack, jpeg), 422, "output_transparency")
    assert [error["pointer"] for error in refused["errors"]] == ["/items/3/target"]
    assert stack.inputs() == []
    assert stack.store.list_jobs(tenant="local").items == []


def test_all_are_queued_or_none(start_stack: StartStack) -> None:
    stack = start_stack(max_queued=3, max_active_per_tenant=4)
    stack.submitted()
    problem(submit(stack, request(stack)), 503, "queue_full")
    assert len(stack.inputs()) == 2
    stack = start_stack(max_queued=10, max_active_per_tenant=3)
    full = problem(submit(stack, request(stack)), 429, "too_many_jobs")
    assert "Retry-After" not in full
    assert stack.http.get("/v1/batches").json() == {"items": [], "next": None}
    assert len(stack.store.list_jobs(tenant="local").items) == 1


def test_the_same_key_is_the_same_batch(stack: Stack) -> None:
    body = request(stack)
    first, again = (submit(stack, body, **{"Idempotency-Key": "one"}) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(stack.store.list_jobs(tenant="local").items) == 3
    problem(submit(stack, {**body, "seed": 1}, **{"Idempotency-Key": "one"}), 422, "idempotency_key_reused")
    problem(stack.submit(headers={"Idempotency-Key": "one"}), 422, "idempotency_key_reused")
    assert stack.http.delete(first.json()["urls"]["self"]).status_code == 204
    problem(submit(stack, body, **{"Idempotency-Key": "one"}), 410, "job_gone")


def test_cancel_all(stack: Stack) -> None:
    batch = submitted(stack)
    taken = player.claim(stack)
    answer = stack.http.post(batch["urls"]["cancel"])
    assert (answer.status_code, answer.json()["counts"]) == (202, counts(canceled=2, canceling=1))
    problem(stack.http.delete(batch["urls"]["self"]), 409, "invalid_transition")
    assert stack.store.finish_canceled(taken)
    again = stack.http.post(batch["urls"]["cancel"])
    assert (again.status_code, again.json()["status"], again.json()["counts"]["canceled"]) == (200, "ended", 3)
    assert stack.store.claim("w1") is None


def test_deleting_takes_everything_along(stack: Stack) -> None:
    batch = submitted(stack)
    members = items(stack, batch)
    player.finish(stack, player.claim(stack))
    assert stack.http.delete(members[1]["url"]).status_code == 204
    assert stack.http.get(batch["urls"]["self"]).json()["counts"] == counts(succeeded=1, canceled=1, queued=1)
    assert stack.http.delete(batch["urls"]["self"]).status_code == 204
    problem(stack.http.get(batch["urls"]["self"]), 410, "batch_gone")
    problem(stack.http.get(batch["urls"]["results"]), 410, "batch_gone")
    for member in members:
        problem(stack.http.get(member["url"]), 410, "job_gone")
    assert stack.store.claim("w1") is None
    GarbageCollector(stack.stores, stack.objects, leftover_age_s=0).collect()
    assert stack.inputs() == []
    assert stack.objects.keys("results/") == []


def test_inputs_stay_as_long_as_the_last_job(stack: Stack, redis: Redis) -> None:
    batch = submitted(stack)
    members = items(stack, batch)
    for _ in members:
        player.finish(stack, player.claim(stack))
    collector = GarbageCollector(stack.stores, stack.objects)
    assert collector.collect() == 0
    assert redis.pttl(f"plumage:batch:{batch['id']}") >= redis.pttl(f"plumage:job:{members[0]['id']}") > 0
    redis.zadd("plumage:expiring", {f"local/{batch['id']}": 1.0}, xx=True)
    redis.delete(f"plumage:batch:{batch['id']}", f"plumage:batch-ends:{batch['id']}")
    assert collector.collect() == 3
    assert stack.inputs() == []
    problem(stack.http.get(batch["urls"]["self"]), 410, "batch_gone")
    assert stack.http.get("/v1/batches").json()["items"] == []
    assert redis.zcard("plumage:batches:local") == 0


def test_the_list_and_its_pages(stack: Stack) -> None:
    batches = [submitted(stack)["id"] for _ in range(3)]
    page = stack.http.get("/v1/batches?limit=2").json()
    assert [each["id"] for each in page["items"]] == batches[:0:-1]
    rest = stack.http.get(f"/v1/batches?limit=2&cursor={page['next']}").json()
    assert ([each["id"] for each in rest["items"]], rest["next"]) == (batches[:1], None)
    url = f"/v1/batches/{batches[0]}/items"
    head = stack.http.get(f"{url}?limit=2").json()
    tail = stack.http.get(f"{url}?limit=2&cursor={head['next']}").json()
    assert [each["custom_id"] for each in head["items"] + tail["items"]] == ["n0", "n1", "n2"]
    assert tail["next"] is None


def test_batches_belong_to_their_tenant(start_stack: StartStack) -> None:
    stack = start_stack(ServiceSettings(require_keys=True))
    tokens = {name: stack.keys.create(name, ["submit", "read"])[0] for name in ("alice", "bob")}  # type: ignore[list-item]
    stack.http.headers["Authorization"] = f"Bearer {tokens['alice']}"
    body = request(stack)
    urls = submit(stack, body).json()["urls"]
    stack.http.headers["Authorization"] = f"Bearer {tokens['bob']}"
    problem(submit(stack, body), 404, "asset_not_found")
    for name in ("self", "items", "results"):
        problem(stack.http.get(urls[name]), 404, "batch_not_found")
    problem(stack.http.post(urls["cancel"]), 404, "batch_not_found")
    problem(stack.http.delete(urls["self"]), 404, "batch_not_found")
    assert stack.http.get("/v1/batches").json()["items"] == []


def test_a_thousand_jobs_in_one_request(start_stack: StartStack) -> None:
    stack = start_stack()
    body = request(stack)
    body["items"] = [{"custom_id": str(n), "target": body["items"][n % 2]["target"]} for n in range(1000)]
    answer = submit(stack, body)
    assert answer.status_code == 202, answer.text
    assert answer.json()["counts"]["queued"] == 1000
    assert len(stack.inputs()) == 3
    assert len(items(stack, answer.json(), "?limit=1000")) == 1000
