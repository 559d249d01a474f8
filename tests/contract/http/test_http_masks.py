"""Masks from places and words over HTTP: refused at once where no worker can make them, and to be had afterwards."""

import json

import pytest

from core.params.optional_models import OptionalModel
from jobs.schema import StoredMask, WorkerReport, WorkerState
from tests.contract.http.conftest import Stack
from tests.contract.http.player import MODEL, claim, finish
from tests.contract.http.problems import problem
from tests.pictures import encoded, gradient

BOX = json.dumps({"masks": {"target_selection": {"box": [0.1, 0.1, 0.9, 0.9]}}})
TEXT = json.dumps({"masks": {"reference_selection": {"text": "bird"}}})


def announce(stack: Stack, worker: str, *held: OptionalModel, state: WorkerState = WorkerState.READY) -> None:
    stack.store.report_worker(WorkerReport(worker_id=worker, state=state, model=MODEL, detail="", optional_models=held))


@pytest.mark.parametrize(("params", "setting"), [(BOX, "PLUMAGE_SEGMENTER"), (TEXT, "PLUMAGE_TEXT_SEGMENTER")])
def test_a_job_that_no_worker_could_do_is_refused_and_says_what_to_configure(
    stack: Stack, params: str, setting: str
) -> None:
    announce(stack, "w1")
    refused = problem(stack.submit(params=params), 422, "model_not_configured")
    assert f"set {setting} " in refused["detail"]
    assert f"PLUMAGE_{refused['model'].upper()}" == setting
    assert stack.inputs() == []
    assert stack.submit(params="{}").status_code == 202


def test_any_worker_may_take_a_job_so_all_must_hold_the_model(stack: Stack) -> None:
    announce(stack, "w1", "segmenter")
    announce(stack, "w2")
    problem(stack.submit(params=BOX), 422, "model_not_configured")
    announce(stack, "w2", "segmenter", state=WorkerState.BUSY)
    announce(stack, "w3", state=WorkerState.STARTING)
    assert stack.submit(params=BOX).status_code == 202


def test_while_no_worker_is_warm_the_job_waits_for_one(stack: Stack) -> None:
    assert stack.submit(params=BOX).status_code == 202


def test_a_retry_asks_again(stack: Stack) -> None:
    job = stack.submitted(params=BOX)
    stack.http.post(job["urls"]["cancel"])
    announce(stack, "w1")
    problem(stack.http.post(f"{job['urls']['self']}/retry"), 422, "model_not_configured")
    announce(stack, "w1", "segmenter")
    assert stack.http.post(f"{job['urls']['self']}/retry").status_code == 202


def test_a_box_that_is_none_is_refused_with_its_place(stack: Stack) -> None:
    params = json.dumps({"masks": {"target_selection": {"box": [0.9, 0.1, 0.1, 0.9]}}})
    refused = problem(stack.submit(params=params), 422, "invalid_request")
    assert refused["errors"][0]["pointer"] == "/params/masks/target_selection"


def test_the_mask_used_is_in_the_record_and_can_be_fetched(stack: Stack) -> None:
    job = stack.submitted()
    claimed = claim(stack)
    problem(stack.http.get(f"{job['urls']['self']}/masks/target"), 409, "not_finished")
    png = encoded(gradient("L"))
    stack.objects.put("results/mask.png", png, "image/png")
    finish(stack, claimed, masks={"target": StoredMask(key="results/mask.png", coverage=0.25, confidence=0.9)})
    masks = stack.http.get(job["urls"]["self"]).json()["result"]["masks"]
    assert masks == {"target": {"coverage": 0.25, "confidence": 0.9, "url": f"{job['urls']['self']}/masks/target"}}
    fetched = stack.http.get(masks["target"]["url"])
    assert (fetched.headers["Content-Type"], fetched.content) == ("image/png", png)
    problem(stack.http.get(f"{job['urls']['self']}/masks/reference"), 404, "no_mask")
    stack.objects.delete("results/mask.png")
    problem(stack.http.get(masks["target"]["url"]), 410, "result_gone")
