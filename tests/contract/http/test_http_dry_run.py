"""A dry run: what a submission would come to, and nothing is stored or queued."""

import time
from typing import Any

import pytest

from core.params.transfer import TransferParams
from jobs.schema import WorkerState
from tests.contract.http import player
from tests.contract.http.conftest import REFERENCE, TARGET, Stack
from tests.contract.http.problems import problem
from tests.pictures import SIZE, encoded, gradient


def tried(stack: Stack, kind: str = "transfers", **fields: Any) -> Any:
    parts = {"target": ("a.png", fields.pop("target", TARGET)), "reference": ("b.jpg", REFERENCE)}
    given = {name: (None, str(value)) for name, value in fields.items()}
    return stack.http.post(f"/v1/dry_run/{kind}", files={**parts, **given})


@pytest.mark.parametrize("kind", ["transfers", "matches"])
def test_all_parameters_are_told_and_nothing_is_left_behind(stack: Stack, kind: str) -> None:
    answer = tried(stack, kind, params='{"num_inference_steps": 7}')
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["params"] == TransferParams(num_inference_steps=7).model_dump(mode="json")
    assert (found["width"], found["height"]) == SIZE
    size = {"width": SIZE[0], "height": SIZE[1], "scaled_from": None}
    assert found["inputs"] == {"target": size, "reference": size}
    assert found["estimate"] == {"queue_position": 1, "start_s": None, "run_s": None}
    painted = {"format": "png", "quality": None, "background": None, "color_profile": "srgb"}
    assert found["output"] == (painted if kind == "transfers" else None)
    assert stack.inputs() == []
    assert stack.store.list_jobs(tenant="local").items == []


def test_a_preset_is_shown_by_its_values(stack: Stack) -> None:
    asked = '{"preset": "fast", "matching": {"ensemble_size": 3}}'
    effective = TransferParams.model_validate_json(asked).resolved()
    assert (effective.num_inference_steps, effective.matching.ensemble_size) == (10, 3)
    assert tried(stack, params=asked).json()["params"] == effective.model_dump(mode="json")
    assert stack.submitted(params=asked)["params"] == effective.model_dump(mode="json")
    assert player.claim(stack).record.spec.params == effective


def test_it_refuses_what_a_submission_refuses(stack: Stack) -> None:
    assert problem(tried(stack, seed=-1), 422, "invalid_request")["errors"][0]["pointer"] == "/seed"
    assert problem(tried(stack, target=b"hello"), 415, "image_type_unsupported")["errors"][0]["pointer"] == "/target"
    transparent = encoded(gradient("RGBA"))
    problem(tried(stack, target=transparent, output='{"format": "jpeg"}'), 422, "output_transparency")
    unknown = {"asset": "0" * 64}
    named = stack.http.post("/v1/dry_run/transfers", json={"target": unknown, "reference": unknown})
    problem(named, 404, "asset_not_found")
    problem(tried(stack, webhook='{"url": "https://a.example/"}'), 409, "webhook_secret_missing")


def test_the_estimate_knows_the_line_and_how_long_jobs_took(stack: Stack) -> None:
    stack.submitted()
    claimed = player.claim(stack)
    time.sleep(0.15)
    player.finish(stack, claimed)
    for _ in range(3):
        stack.submitted()
    waiting = tried(stack).json()["estimate"]
    assert waiting["queue_position"] == 4
    assert 0.1 <= waiting["run_s"] < 20
    assert waiting["start_s"] is None, "no worker is warm"
    player.announce(stack, WorkerState.READY)
    warm = tried(stack).json()["estimate"]
    assert warm["start_s"] == pytest.approx(3 * warm["run_s"], abs=0.2)
    assert tried(stack, priority=1).json()["estimate"]["queue_position"] == 1
    assert tried(stack, "matches").json()["estimate"]["run_s"] is None
