"""Worker processes that have to go, because their device failed or because they have served long enough."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.stack.embedded import start_redis
from jobs.schema import Status
from tests.faults.stack import Stack, gone, running_stack, until, worker_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with (
        start_redis(tmp_path) as server,
        running_stack(server, tmp_path, max_jobs_per_worker=3, max_growth_mb=100) as stack,
    ):
        yield stack


def test_a_lost_device_replaces_the_process_and_not_the_job(stack: Stack, tmp_path: Path) -> None:
    supervisor = stack.start_worker()
    broken = worker_of(supervisor)
    job_id = stack.submit(lose_device=str(tmp_path / "lost"), log=str(tmp_path / "log"))
    began = time.monotonic()
    until(lambda: gone(broken), 30, "the broken process is gone")
    until(lambda: not stack.ready(), 10, "nobody is ready meanwhile")
    record = stack.until_end(job_id)
    sys.stderr.write(f"\nserved by the next process {time.monotonic() - began:.1f} s after submission\n")
    assert (record.status, record.attempt) == (Status.SUCCEEDED, 2)
    first, second = (tmp_path / "log").read_text().split()
    assert int(first) == broken
    assert int(second) == worker_of(supervisor) != broken
    stack.collect()
    assert all(key.startswith(f"results/local/{job_id}/2/") for key in stack.objects.keys("results/"))


def test_a_process_serves_some_jobs_and_is_replaced(stack: Stack, tmp_path: Path) -> None:
    stack.start_worker()
    log = tmp_path / "log"
    jobs = [stack.submit(log=str(log)) for _ in range(5)]
    for job_id in jobs:
        record = stack.until_end(job_id)
        assert (record.status, record.attempt) == (Status.SUCCEEDED, 1)
    pids = log.read_text().split()
    assert len(set(pids[:3])) == len(set(pids[3:])) == 1
    assert pids[0] != pids[3]


def test_a_process_that_grows_is_replaced(stack: Stack, tmp_path: Path) -> None:
    supervisor = stack.start_worker()
    grown = worker_of(supervisor)
    record = stack.until_end(stack.submit(leak_mb=200))
    assert record.status is Status.SUCCEEDED
    until(lambda: gone(grown), 30, "the grown process is gone")
    assert stack.until_end(stack.submit()).status is Status.SUCCEEDED
    assert worker_of(supervisor) != grown
