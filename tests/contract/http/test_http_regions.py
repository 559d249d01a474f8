"""Regions that name pictures and masks, over HTTP: as parts of a form, in JSON, in batches, and through a worker."""

import io
import json
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from core.images.canvas import from_pil
from core.masks.regions import Named
from core.params.transfer import TransferParams
from core.pipeline import TransferInputs, transfer
from jobs.garbage_collector import GarbageCollector
from jobs.settings import JobSettings
from service.settings import ServiceSettings
from tests.contract.http import player
from tests.contract.http.conftest import REFERENCE, TARGET, Stack, StartStack
from tests.contract.http.problems import problem
from tests.contract.http.real_worker import make_context
from tests.pictures import SIZE, decoded, encoded, gradient
from worker.tasks import run_next


def half(left: bool, size: tuple[int, int] = SIZE) -> Image.Image:
    mask = Image.new("L", size, 0)
    mask.paste(255, (0, 0, size[0] // 2, size[1]) if left else (size[0] // 2, 0, *size))
    return mask


LEFT, RIGHT = encoded(half(True)), encoded(half(False))
LEAF = encoded(gradient(size=(40, 40)).rotate(90))
REGIONS = [{"target_mask": "left"}, {"target_mask": "right", "reference": "leaf", "scale": 0.8}]
FAST = {"num_inference_steps": 3, "strength": 1.0, "matching": {"ensemble_size": 1}}
PARAMS = {**FAST, "masks": {"regions": REGIONS}}
PARTS: dict[str, Any] = {"params": json.dumps(PARAMS), "picture_leaf": LEAF, "mask_left": LEFT, "mask_right": RIGHT}
NAMED = {"picture_leaf", "mask_left", "mask_right"}


def keep(stack: Stack, data: bytes) -> dict[str, str]:
    answer = stack.http.post("/v1/assets", files={"file": ("a.png", data)})
    return {"asset": answer.json()["id"]}


def as_json(stack: Stack) -> dict[str, Any]:
    return {
        "target": keep(stack, TARGET),
        "reference": keep(stack, REFERENCE),
        "pictures": {"leaf": keep(stack, LEAF)},
        "masks": {"left": keep(stack, LEFT), "right": keep(stack, RIGHT)},
        "params": PARAMS,
    }


def params_of(regions: list[dict[str, str]]) -> str:
    return json.dumps({"masks": {"regions": regions}})


def stored_parts(stack: Stack) -> dict[str, bytes]:
    """Pixels of the named inputs of the next job, by part."""
    inputs = player.claim(stack).record.spec.inputs
    return {part: decoded(stack.objects.get(key)).tobytes() for part, key in inputs.named.items()}


EXPECTED = {part: decoded(PARTS[part]).tobytes() for part in NAMED}


@pytest.mark.parametrize("kind", ["transfers", "matches"])
def test_parts_of_a_form_reach_the_worker_by_their_names(stack: Stack, kind: str) -> None:
    files = [("target", TARGET), ("reference", REFERENCE), *((part, PARTS[part]) for part in NAMED)]
    sent = stack.http.post(f"/v1/{kind}", files=files, data={"params": PARTS["params"]})
    assert sent.status_code == 202, sent.text
    shown = sent.json()["params"]["masks"]["regions"]
    assert [(region["target_mask"], region["reference"]) for region in shown] == [("left", None), ("right", "leaf")]
    assert stored_parts(stack) == EXPECTED


def test_json_names_them_by_asset(stack: Stack) -> None:
    sent = stack.http.post("/v1/transfers", json=as_json(stack))
    assert sent.status_code == 202, sent.text
    assert stored_parts(stack) == EXPECTED


SMALL = encoded(half(True, (SIZE[0], SIZE[1] + 1)))


@pytest.mark.parametrize(
    ("fields", "status", "found"),
    [
        ({"picture_leaf": None}, 422, [("/picture_leaf", "missing")]),
        ({"mask_left": None, "mask_right": None}, 422, [("/mask_left", "missing"), ("/mask_right", "missing")]),
        ({"mask_sky": LEFT}, 422, [("/mask_sky", "extra_forbidden")]),
        ({"picture_target": LEAF}, 422, [("/picture_target", "extra_forbidden")]),
        ({"picture_leaf": "text"}, 422, [("/picture_leaf", "file_expected")]),
        ({"mask_Left": LEFT}, 422, [("/mask_Left", "string_pattern_mismatch")]),
        ({"picture_": LEFT}, 422, [("/picture_", "string_pattern_mismatch")]),
        ({"pictures": "{}"}, 422, [("/pictures", "extra_forbidden")]),
        ({"params": "{}"}, 422, [(f"/{part}", "extra_forbidden") for part in sorted(NAMED)]),
        ({"picture_leaf": b"hello"}, 415, [("/picture_leaf", "image_type_unsupported")]),
        ({"mask_left": SMALL}, 422, [("/mask_left", "mask_size_mismatch")]),
        ({"mask_left": b"hello"}, 415, [("/mask_left", "image_type_unsupported")]),
        ({"mask_left": encoded(Image.new("L", SIZE, 0))}, 422, [("/mask_left", "mask_empty")]),
    ],
)
def test_what_is_wrong_with_a_part_is_said_at_the_part(
    stack: Stack, fields: dict[str, Any], status: int, found: list[tuple[str, str]]
) -> None:
    code = found[0][1] if found[0][1].startswith(("image_", "mask_")) else "invalid_request"
    for path in ("/v1/transfers", "/v1/dry_run/transfers"):
        given = {"target": TARGET, "reference": REFERENCE, **PARTS, **fields}
        files = [
            (name, ("a.png", value) if isinstance(value, bytes) else (None, value))
            for name, value in given.items()
            if value is not None
        ]
        refused = problem(stack.http.post(path, files=files), status, code)
        assert sorted((error["pointer"], error["code"]) for error in refused["errors"]) == found
    assert stack.inputs() == []


def test_json_is_refused_at_its_own_fields(stack: Stack) -> None:
    body = as_json(stack)
    unknown = {"asset": "0" * 64}
    cases: list[tuple[dict[str, Any], int, str, str]] = [
        ({"pictures": {}}, 422, "/pictures/leaf", "missing"),
        ({"masks": {**body["masks"], "sky": unknown}}, 422, "/masks/sky", "extra_forbidden"),
        ({"pictures": {"leaf": unknown}}, 404, "/pictures/leaf", "asset_not_found"),
        ({"pictures": {"leaf": {"url": "https://a.example/b"}}}, 403, "/pictures/leaf", "urls_off"),
        ({"masks": {**body["masks"], "left": keep(stack, SMALL)}}, 422, "/masks/left", "mask_size_mismatch"),
        ({"pictures": {f"n{n}": unknown for n in range(9)}}, 422, "/pictures", "too_long"),
    ]
    for fields, status, pointer, code in cases:
        answer = stack.http.post("/v1/transfers", json={**body, **fields})
        refused = problem(
            answer, status, code if code in ("asset_not_found", "urls_off", "mask_size_mismatch") else "invalid_request"
        )
        assert (pointer, code) in [(error["pointer"], error["code"]) for error in refused["errors"]]
    assert stack.inputs() == []


def test_a_dry_run_checks_them_and_stores_nothing(stack: Stack) -> None:
    tried = stack.http.post("/v1/dry_run/transfers", json=as_json(stack))
    assert tried.status_code == 200, tried.text
    assert len(tried.json()["params"]["masks"]["regions"]) == 2
    assert stack.inputs() == []


def test_all_pictures_of_a_job_have_a_bound_together(start_stack: StartStack) -> None:
    stack = start_stack(ServiceSettings(max_picture_pixels=SIZE[0] * SIZE[1]))
    names = [f"n{number}" for number in range(3)]
    regions = [{"reference": name, "target_mask": name} for name in names]
    parts = {f"picture_{name}": REFERENCE for name in names} | {f"mask_{name}": LEFT for name in names}
    refused = problem(stack.submit(params=params_of(regions), **parts), 422, "image_too_many_pixels")
    assert refused["errors"][0]["pointer"] == "/picture_n2"
    regions = [{"reference": "n0", "target_mask": "n0"}, {"reference": "n0", "target_mask": "n1"}]
    fewer = {name: parts[name] for name in ("picture_n0", "mask_n0", "mask_n1")}
    assert stack.submit(params=params_of(regions), **fewer).status_code == 202
    named = {
        "pictures": {name: keep(stack, REFERENCE) for name in names},
        "masks": {name: keep(stack, LEFT) for name in names},
    }
    body = {"reference": keep(stack, REFERENCE), "items": [{"custom_id": "a", "target": keep(stack, TARGET)}], **named}
    regions = [{"reference": name, "target_mask": name} for name in names]
    body["params"] = {"masks": {"regions": regions}}
    refused = problem(stack.http.post("/v1/batches", json=body), 422, "image_too_many_pixels")
    assert [error["pointer"] for error in refused["errors"]] == ["/items/0"]


def test_a_form_has_room_for_all_that_regions_can_name_and_no_more(stack: Stack) -> None:
    names = [f"n{number}" for number in range(8)]
    regions = [{"reference": name, "target_mask": name, "reference_mask": f"{name}r"} for name in names]
    parts = {f"picture_{name}": TARGET for name in names}
    parts |= {f"mask_{name}": LEFT for name in [*names, *(f"{name}r" for name in names)]}
    sent = stack.submit(params=params_of(regions), target_mask=LEFT, reference_mask=LEFT, **parts)
    assert sent.status_code == 202, sent.text
    assert len(stack.inputs()) == 28
    more = {f"picture_more{number}": TARGET for number in range(10)}
    problem(stack.submit(**parts, **more), 400, "malformed_body")


def test_they_are_part_of_what_a_key_stands_for(stack: Stack) -> None:
    headers = {"Idempotency-Key": "one"}
    first = stack.submit(headers=headers, **PARTS)
    assert stack.submit(headers=headers, **PARTS).json() == first.json()
    problem(stack.submit(headers=headers, **{**PARTS, "mask_left": RIGHT}), 422, "idempotency_key_reused")
    problem(stack.submit(headers=headers, **{**PARTS, "picture_leaf": TARGET}), 422, "idempotency_key_reused")
    named = as_json(stack)
    first = stack.http.post("/v1/transfers", json=named, headers={"Idempotency-Key": "two"})
    assert stack.http.post("/v1/transfers", json=named, headers={"Idempotency-Key": "two"}).json() == first.json()
    named["masks"]["left"] = named["masks"]["right"]
    other = stack.http.post("/v1/transfers", json=named, headers={"Idempotency-Key": "two"})
    problem(other, 422, "idempotency_key_reused")


def test_a_retry_has_its_own_and_they_go_with_their_job(stack: Stack) -> None:
    job = stack.submitted(**PARTS)
    stack.http.post(job["urls"]["cancel"])
    again = stack.http.post(f"{job['urls']['self']}/retry").json()
    assert len(stack.inputs()) == 10
    assert stack.http.delete(job["urls"]["self"]).status_code == 204
    assert {key.split("/")[2] for key in stack.inputs()} == {again["id"]}
    assert stored_parts(stack) == EXPECTED


def test_the_collector_takes_them_too(start_stack: StartStack) -> None:
    stack = start_stack(retention_s=0)
    job = stack.submitted(**PARTS)
    stack.http.post(job["urls"]["cancel"])
    GarbageCollector(stack.stores, stack.objects).collect()
    assert stack.inputs() == []


# --- batches --------------------------------------------------------------------------------------------------------


def batch_body(stack: Stack) -> dict[str, Any]:
    """Two targets with masks of their own; one with a leaf of its own too."""
    body = as_json(stack)
    masks, target = body.pop("masks"), body.pop("target")
    swapped = {"left": masks["right"], "right": masks["left"]}
    own = {"custom_id": "b", "target": target, "masks": swapped, "pictures": {"leaf": keep(stack, TARGET)}}
    return {**body, "items": [{"custom_id": "a", "target": target, "masks": masks}, own]}


def send(stack: Stack, body: dict[str, Any]) -> httpx.Response:
    return stack.http.post("/v1/batches", json=body)


def test_a_batch_shares_them_and_its_jobs_have_their_own(stack: Stack) -> None:
    batch = send(stack, batch_body(stack))
    assert batch.status_code == 202, batch.text
    assert stored_parts(stack) == EXPECTED
    second = stored_parts(stack)
    assert (second["mask_left"], second["mask_right"]) == (EXPECTED["mask_right"], EXPECTED["mask_left"])
    assert second["picture_leaf"] == decoded(TARGET).tobytes()
    assert len(stack.inputs()) == 5, "each picture once"


def test_a_batch_says_which_job_lacks_or_has_what(stack: Stack) -> None:
    body = batch_body(stack)
    first, second = body["items"]
    wrong = {
        **body,
        "masks": {"sky": first["masks"]["left"]},
        "items": [first, {**second, "masks": {"up": second["target"]}}],
    }
    refused = problem(send(stack, wrong), 422, "invalid_request")
    found = [(error["pointer"], error["code"]) for error in refused["errors"]]
    assert found == [
        ("/masks/sky", "extra_forbidden"),
        ("/items/1/masks/left", "missing"),
        ("/items/1/masks/right", "missing"),
        ("/items/1/masks/up", "extra_forbidden"),
    ]
    small = {**second, "masks": {**second["masks"], "left": keep(stack, SMALL)}}
    refused = problem(send(stack, {**body, "items": [first, small]}), 422, "mask_size_mismatch")
    assert [error["pointer"] for error in refused["errors"]] == ["/items/1/masks/left"]
    lost = {**second, "pictures": {"leaf": {"asset": "0" * 64}}}
    refused = problem(send(stack, {**body, "items": [first, lost]}), 404, "asset_not_found")
    assert [error["pointer"] for error in refused["errors"]] == ["/items/1/pictures/leaf"]
    assert stack.inputs() == []


# --- through a worker -----------------------------------------------------------------------------------------------


def test_two_regions_and_two_references_come_out_as_from_the_library(stack: Stack, job_settings: JobSettings) -> None:
    context = make_context(stack, job_settings)
    job = stack.submitted(seed=5, **PARTS)
    run_next(context)
    record = stack.http.get(job["urls"]["self"]).json()
    assert record["error"] is None
    painted = np.asarray(decoded(stack.http.get(record["result"]["url"]).content))

    def tensor(data: bytes) -> torch.Tensor:
        return from_pil(Image.open(io.BytesIO(data)))

    masks = {"left": tensor(LEFT)[0], "right": tensor(RIGHT)[0]}
    named = Named({"leaf": tensor(PARTS["picture_leaf"])}, masks)
    inputs = TransferInputs(tensor(TARGET), tensor(REFERENCE), named=named)
    alone = transfer(context.loaded.models, inputs, TransferParams.model_validate_json(json.dumps(PARAMS)), seed=5)
    assert (painted == alone.image.numpy()).all()
    with np.load(io.BytesIO(stack.http.get(job["urls"]["matches"]).content)) as matches:
        assert set(np.unique(matches["region"])) >= {0, 1}
