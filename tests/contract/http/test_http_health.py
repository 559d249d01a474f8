"""Liveness and readiness, with each part missing in turn."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from jobs.schema import WorkerState
from tests.contract.http import player
from tests.contract.http.conftest import Stack, StartStack
from tests.contract.http.problems import problem

NOWHERE = "unix:///nonexistent/redis.sock"


def checks(body: dict[str, Any]) -> dict[str, bool]:
    return {check["name"]: check["ok"] for check in body["checks"]}


def test_a_process_without_anything_is_alive_and_not_ready(start_stack: StartStack) -> None:
    stack = start_stack(redis_url=NOWHERE)
    live = stack.http.get("/healthz/live")
    assert (live.status_code, live.json()) == (200, {"status": "alive"})
    body = problem(stack.http.get("/healthz/ready"), 503, "not_ready")
    assert checks(body) == {"redis": False, "worker": False, "objects": True}


def test_it_is_not_ready_without_a_worker(stack: Stack) -> None:
    body = problem(stack.http.get("/healthz/ready"), 503, "not_ready")
    assert checks(body) == {"redis": True, "worker": False, "objects": True}
    assert "no worker" in body["detail"]


@pytest.mark.parametrize("state", [WorkerState.STARTING, WorkerState.STOPPING])
def test_a_cold_worker_is_not_enough_and_says_what_it_does(stack: Stack, state: WorkerState) -> None:
    player.announce(stack, state, "reading weights")
    body = problem(stack.http.get("/healthz/ready"), 503, "not_ready")
    assert checks(body)["worker"] is False
    assert "reading weights" in body["detail"]


@pytest.mark.parametrize("state", [WorkerState.READY, WorkerState.BUSY])
def test_it_is_ready_with_a_warm_worker(stack: Stack, state: WorkerState) -> None:
    player.announce(stack, state)
    response = stack.http.get("/healthz/ready")
    assert response.status_code == 200
    assert response.json()["status"] == "ready"
    assert checks(response.json()) == {"redis": True, "worker": True, "objects": True}
    assert stack.http.get("/healthz/ready").status_code == 200  # the probe may be written again


def test_it_is_not_ready_when_objects_cannot_be_written(start_stack: StartStack, tmp_path: Path) -> None:
    stack = start_stack()
    player.announce(stack, WorkerState.READY)
    shutil.rmtree(tmp_path / "objects")
    (tmp_path / "objects").write_text("in the way")
    body = problem(stack.http.get("/healthz/ready"), 503, "not_ready")
    assert checks(body) == {"redis": True, "worker": True, "objects": False}
    assert str(tmp_path) not in str(body)
