"""Whatever dies, an accepted job ends once, with one result. Everything is real here but the sampler.

Starting a worker costs seconds of processor time, so the tests of the first part share one supervisor.
"""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from redis import Redis

from cli.stack.embedded import EmbeddedRedis, start_redis
from jobs.schema import Record, Status
from tests.faults.stack import Stack, gone, running_stack, until, worker_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


class Shared(NamedTuple):
    stack: Stack
    supervisor: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    folder = tmp_path_factory.mktemp("shared")
    with start_redis(folder) as server, running_stack(server, folder, job_timeout_s=4.0, max_attempts=2) as stack:
        yield Shared(stack, stack.start_worker())


def assert_one_result(stack: Stack, record: Record) -> None:
    """The committed picture is the only one, and it is the one of the record."""
    assert record.status is Status.SUCCEEDED
    assert record.result is not None
    stack.collect()
    assert record.result.image is not None
    assert stack.objects.keys(f"results/local/{record.id}/") == [file.key for file in record.result.files]
    assert hashlib.sha256(stack.objects.get(record.result.image.key)).hexdigest() == record.result.image.sha256


# --- one supervisor -------------------------------------------------------------------------------------------------


def test_a_job_succeeds_and_shows_its_progress(shared: Shared) -> None:
    stack = shared.stack
    job = stack.submit(steps=10, pause_s=0.1)
    stack.until_step(job, 1)
    running = stack.get(job)
    assert running.status is Status.RUNNING
    assert running.preview_key is not None
    assert stack.objects.get(running.preview_key).startswith(b"\xff\xd8\xff")
    record = stack.until_end(job)
    assert record.attempt == 1
    assert_one_result(stack, record)
    assert record.result is not None
    assert {"inputs", "outputs", "queue", "total", "sample"} <= record.result.timings.keys()


def test_an_error_in_the_sampler_is_a_failure_without_its_text(shared: Shared) -> None:
    record = shared.stack.until_end(shared.stack.submit(error="secret /path"))
    assert record.error is not None
    assert (record.status, record.error.code) == (Status.FAILED, "internal")
    assert "secret" not in record.model_dump_json(exclude={"spec"})


def test_a_running_job_is_canceled_within_a_step(shared: Shared) -> None:
    stack = shared.stack
    job = stack.submit(steps=70, pause_s=0.05)
    stack.until_step(job, 2)
    assert stack.store.request_cancel(job, tenant="local").status is Status.CANCELING
    record = stack.until_end(job, 5)
    assert record.status is Status.CANCELED
    assert record.progress.step < 70
    stack.collect()
    assert stack.objects.keys(f"results/local/{job}/") == []
    assert stack.objects.keys(f"previews/local/{job}/") == []


def test_a_run_past_its_limit_fails_and_the_worker_stays(shared: Shared) -> None:
    worker = worker_of(shared.supervisor)
    record = shared.stack.until_end(shared.stack.submit(steps=100, pause_s=0.1))
    assert record.error is not None
    assert (record.status, record.error.code, record.attempt) == (Status.FAILED, "timeout", 1)
    assert_one_result(shared.stack, shared.stack.until_end(shared.stack.submit()))
    assert worker_of(shared.supervisor) == worker


def test_a_killed_worker_is_replaced_and_its_job_finishes_once(shared: Shared, tmp_path: Path) -> None:
    stack, log = shared.stack, tmp_path / "runs"
    job = stack.submit(steps=20, pause_s=0.1, log=str(log))
    stack.until_step(job, 3)
    first = worker_of(shared.supervisor)
    os.kill(first, signal.SIGKILL)
    record = stack.until_end(job)
    assert record.attempt == 2
    assert_one_result(stack, record)
    second = worker_of(shared.supervisor)
    assert first != second
    assert [int(line) for line in log.read_text().split()] == [first, second]


def test_a_job_that_kills_its_workers_fails_and_the_next_is_served(shared: Shared) -> None:
    stack = shared.stack
    poison, healthy = stack.submit(kill_at=2), stack.submit()
    record = stack.until_end(poison)
    assert record.error is not None
    assert (record.status, record.error.code, record.attempt) == (Status.FAILED, "worker_lost", 2)
    assert_one_result(stack, stack.until_end(healthy))


def test_a_hang_in_native_code_is_killed_and_the_next_job_served(shared: Shared) -> None:
    stack = shared.stack
    hung, healthy = stack.submit(hang_at=2), stack.submit()
    record = stack.until_end(hung)
    assert record.error is not None
    assert (record.status, record.error.code) == (Status.FAILED, "worker_lost")
    assert_one_result(stack, stack.until_end(healthy))


# --- supervisors and Redis end too ----------------------------------------------------------------------------------


@pytest.fixture
def fresh(redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path) -> Iterator[Stack]:
    with running_stack(redis_server, tmp_path, drain_s=2.5) as stack:
        yield stack


def test_a_stop_signal_lets_a_job_finish_and_hands_a_longer_one_back(fresh: Stack) -> None:
    first = fresh.start_worker()
    short, long = fresh.submit(steps=10, pause_s=0.1), fresh.submit(steps=50, pause_s=0.1)
    fresh.until_step(short, 1)
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) == 0
    assert fresh.get(short).status is Status.SUCCEEDED
    assert (fresh.get(long).status, fresh.get(long).attempt) == (Status.QUEUED, 0)

    second = fresh.start_worker()
    fresh.until_step(long, 1)
    second.send_signal(signal.SIGTERM)
    assert second.wait(30) == 0
    assert (fresh.get(long).status, fresh.get(long).attempt) == (Status.QUEUED, 1)
    assert fresh.get(long).queue_position == 1


def test_nothing_survives_a_killed_supervisor(fresh: Stack) -> None:
    supervisor = fresh.start_worker()
    job = fresh.submit(steps=30, pause_s=0.1)
    fresh.until_step(job, 1)
    worker = worker_of(supervisor)
    supervisor.kill()
    supervisor.wait()
    until(lambda: gone(worker), 5, "the worker died with its supervisor")
    fresh.start_worker()
    record = fresh.until_end(job)
    assert record.attempt == 2
    assert_one_result(fresh, record)
