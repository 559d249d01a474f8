"""Assets: uploaded once, named by many jobs, submitted as JSON."""

import hashlib
import time
from typing import Any

import httpx
import pytest
from PIL import Image
from redis import Redis

from core.params.transfer import overlay
from jobs.garbage_collector import GarbageCollector
from service.settings import ServiceSettings
from tests.contract.http import player
from tests.contract.http.conftest import REFERENCE, TARGET, Stack, StartStack
from tests.contract.http.problems import problem
from tests.pictures import SIZE, decoded, encoded, gradient

TARGET_ID, REFERENCE_ID = (hashlib.sha256(data).hexdigest() for data in (TARGET, REFERENCE))
NAMED = {"target": {"asset": TARGET_ID}, "reference": {"asset": REFERENCE_ID}}


def upload(stack: Stack, data: bytes = TARGET) -> httpx.Response:
    return stack.http.post("/v1/assets", files={"file": ("a.png", data)})


def both(stack: Stack) -> None:
    assert [upload(stack, data).status_code for data in (TARGET, REFERENCE)] == [201, 201]


def assets_of(stack: Stack) -> list[str]:
    return stack.objects.keys("assets/")


# --- keeping --------------------------------------------------------------------------------------------------------


def test_the_same_bytes_are_one_asset(stack: Stack) -> None:
    first = upload(stack)
    assert first.status_code == 201, first.text
    asset = first.json()
    assert (asset["id"], asset["width"], asset["height"], asset["has_alpha"]) == (TARGET_ID, *SIZE, False)
    assert first.headers["Location"] == asset["url"] == f"/v1/assets/{TARGET_ID}"
    time.sleep(0.01)
    again = upload(stack)
    assert again.status_code == 200
    assert again.json()["expires_at"] > asset["expires_at"]
    assert again.json() | {"expires_at": ""} == asset | {"expires_at": ""}
    assert stack.http.get(asset["url"]).json() | {"expires_at": ""} == again.json() | {"expires_at": ""}
    assert len(assets_of(stack)) == 1
    assert len(stack.objects.get(assets_of(stack)[0])) == asset["bytes"]


def test_only_pictures_are_kept(stack: Stack) -> None:
    refused = problem(upload(stack, b"hello"), 415, "image_type_unsupported")
    assert refused["errors"][0]["pointer"] == "/file"
    problem(stack.http.post("/v1/assets", json={"file": "x"}), 415, "unsupported_media_type")
    missing = problem(stack.http.post("/v1/assets", files={"flie": ("a.png", TARGET)}), 422, "invalid_request")
    assert [error["pointer"] for error in missing["errors"]] == ["/file", "/flie"]
    twice = problem(stack.http.post("/v1/assets", files=[("file", ("a", TARGET))] * 2), 422, "invalid_request")
    assert twice["errors"][0]["code"] == "duplicate_field"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    problem(stack.http.post("/v1/assets", content=b"no parts", headers=headers), 400, "malformed_body")
    assert assets_of(stack) == []


def test_an_asset_is_deleted_and_its_jobs_are_not(stack: Stack) -> None:
    both(stack)
    job = stack.http.post("/v1/transfers", json=NAMED).json()
    for asset_id in (TARGET_ID, REFERENCE_ID):
        assert stack.http.delete(f"/v1/assets/{asset_id}").status_code == 204
        problem(stack.http.get(f"/v1/assets/{asset_id}"), 404, "asset_not_found")
        problem(stack.http.delete(f"/v1/assets/{asset_id}"), 404, "asset_not_found")
    assert assets_of(stack) == []
    assert len(stack.inputs()) == 2
    player.finish(stack, player.claim(stack))
    assert stack.http.get(job["urls"]["self"]).json()["status"] == "succeeded"
    problem(stack.http.post("/v1/transfers", json=NAMED), 404, "asset_not_found")


def test_an_asset_ends_by_itself_and_comes_back_whole(start_stack: StartStack, redis: Redis) -> None:
    stack = start_stack()
    asset = upload(stack).json()
    collector = GarbageCollector(stack.stores, stack.objects)
    assert collector.collect() == 0
    [ended] = redis.zrange("plumage:ending", 0, -1)
    redis.delete(f"plumage:asset:local:{TARGET_ID}")  # as happens when its time is over
    problem(stack.http.get(asset["url"]), 404, "asset_not_found")
    assert upload(stack).status_code == 201
    redis.execute_command("ZADD", "plumage:ending", "XX", 1, ended)  # type: ignore[no-untyped-call]
    assert len(assets_of(stack)) == 2
    assert collector.collect() == 1
    both_named = {"target": {"asset": TARGET_ID}, "reference": {"asset": TARGET_ID}}
    assert stack.http.post("/v1/transfers", json=both_named).status_code == 202


def test_what_was_stored_and_never_kept_is_collected(stack: Stack, redis: Redis) -> None:
    copy = "0123456789abcdef"
    stack.stores.assets.reserve(TARGET_ID, copy, tenant="local")
    stack.objects.put(f"assets/local/{TARGET_ID}/{copy}.png", TARGET, "image/png")
    collector = GarbageCollector(stack.stores, stack.objects)
    assert collector.collect() == 0
    redis.zadd("plumage:ending", {f"local/{TARGET_ID}/{copy}": 1.0}, xx=True)
    assert collector.collect() == 1
    assert assets_of(stack) == []
    assert redis.zcard("plumage:ending") == 0


def test_there_are_so_many_and_no_more(start_stack: StartStack) -> None:
    stack = start_stack(max_assets_per_tenant=1)
    assert upload(stack).status_code == 201
    assert upload(stack).status_code == 200
    full = upload(stack, REFERENCE)
    problem(full, 429, "too_many_assets")
    assert int(full.headers["Retry-After"]) >= 1
    assert stack.http.delete(f"/v1/assets/{TARGET_ID}").status_code == 204
    assert upload(stack, REFERENCE).status_code == 201


# --- submitting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/transfers", "/v1/matches"])
def test_json_asks_for_the_same_as_a_form(stack: Stack, path: str) -> None:
    both(stack)
    mask = encoded(Image.new("L", SIZE, 255))
    mask_id = upload(stack, mask).json()["id"]
    terms: dict[str, Any] = {
        "seed": 5.0,
        "prompt": "a peacock",
        "params": {"num_inference_steps": 7, "injection": {"layers": ["up_blocks.1"], "range": [0.5, 0.1]}},
        "metadata": {"a": "b"},
        "deadline": 60,
        "ttl": 600,
        "priority": 3,
    }
    answer = stack.http.post(path, json={**NAMED, "target_mask": {"asset": mask_id}, **terms})
    assert answer.status_code == 202, answer.text
    record = answer.json()
    assert all(record[name] == value for name, value in terms.items() if name != "params")
    assert record["params"] == overlay(record["params"], terms["params"])
    inputs = player.claim(stack).record.spec.inputs
    assert inputs.target_mask is not None
    assert decoded(stack.objects.get(inputs.target)).tobytes() == decoded(TARGET).tobytes()
    assert decoded(stack.objects.get(inputs.target_mask)).mode == "L"


def test_what_json_cannot_say(stack: Stack) -> None:
    both(stack)
    for body, pointer, code in [
        ({**NAMED, "seed": None}, "/seed", "null"),
        ({**NAMED, "seed": "5"}, "/seed", "int_type"),
        ({**NAMED, "target_mask": None}, "/target_mask", "null"),
        ({**NAMED, "params": '{"num_inference_steps": 5}'}, "/params", "model_type"),
        ({**NAMED, "params": {"num_inference_steps": "5"}}, "/params/num_inference_steps", "int_type"),
        ({**NAMED, "output": {"format": "png", "quality": 5}}, "/output", "quality_without_effect"),
        ({**NAMED, "colour": "blue"}, "/colour", "extra_forbidden"),
        ({**NAMED, "target": "a.png"}, "/target", "model_type"),
        ({**NAMED, "target": {}}, "/target", "one_expected"),
        ({**NAMED, "target": {"asset": TARGET_ID, "url": "https://a.example/b"}}, "/target", "one_expected"),
        ({**NAMED, "target": {"asset": TARGET_ID, "url": None}}, "/target/url", "null"),
        ({**NAMED, "target": {"asset": "A" * 64}}, "/target/asset", "string_pattern_mismatch"),
        ({"target": NAMED["target"]}, "/reference", "missing"),
    ]:
        refused = problem(stack.http.post("/v1/transfers", json=body), 422, "invalid_request")
        assert [(error["pointer"], error["code"]) for error in refused["errors"]] == [(pointer, code)]
    headers = {"Content-Type": "application/json"}
    for text in ("", "[]", "nonsense", '{"seed": 1, "seed": 1}', '{"seed": NaN}', '{"prompt": "\\ud800"}'):
        refused_text = stack.http.post("/v1/transfers", content=text, headers=headers)
        assert refused_text.status_code in (400, 422), text
        assert refused_text.json()["code"] in ("malformed_body", "invalid_request")
    problem(stack.http.post("/v1/transfers", content=b" " * 300_000 + b"{}", headers=headers), 413, "body_too_large")
    assert stack.inputs() == []


def test_assets_that_cannot_be_used_are_all_named(stack: Stack) -> None:
    refused = problem(stack.http.post("/v1/transfers", json=NAMED), 404, "asset_not_found")
    assert [error["pointer"] for error in refused["errors"]] == ["/target", "/reference"]
    both(stack)
    mask_id = upload(stack, encoded(gradient(size=(SIZE[0], SIZE[1] + 1)))).json()["id"]
    wrong = stack.http.post("/v1/transfers", json={**NAMED, "reference_mask": {"asset": mask_id}})
    assert problem(wrong, 422, "mask_size_mismatch")["errors"][0]["pointer"] == "/reference_mask"
    transparent = upload(stack, encoded(gradient("RGBA"))).json()
    assert transparent["has_alpha"]
    body = {**NAMED, "target": {"asset": transparent["id"]}, "output": {"format": "jpeg"}}
    problem(stack.http.post("/v1/transfers", json=body), 422, "output_transparency")
    assert stack.inputs() == []


def test_a_key_knows_what_was_named(stack: Stack) -> None:
    both(stack)
    headers = {"Idempotency-Key": "one"}
    first = stack.http.post("/v1/transfers", json=NAMED, headers=headers)
    again = stack.http.post("/v1/transfers", json=NAMED, headers=headers)
    assert (first.status_code, again.headers["Idempotency-Replayed"]) == (202, "true")
    assert again.json() == first.json()
    swapped = {"target": NAMED["reference"], "reference": NAMED["target"]}
    problem(stack.http.post("/v1/transfers", json=swapped, headers=headers), 422, "idempotency_key_reused")


def test_assets_belong_to_their_tenant(start_stack: StartStack) -> None:
    stack = start_stack(ServiceSettings(require_keys=True))
    tokens = {name: stack.keys.create(name, ["submit", "read"])[0] for name in ("alice", "bob")}  # type: ignore[list-item]
    stack.http.headers["Authorization"] = f"Bearer {tokens['alice']}"
    both(stack)
    stack.http.headers["Authorization"] = f"Bearer {tokens['bob']}"
    problem(stack.http.get(f"/v1/assets/{TARGET_ID}"), 404, "asset_not_found")
    problem(stack.http.delete(f"/v1/assets/{TARGET_ID}"), 404, "asset_not_found")
    problem(stack.http.post("/v1/transfers", json=NAMED), 404, "asset_not_found")
    assert upload(stack).status_code == 201, "who has the same picture learns nothing"
