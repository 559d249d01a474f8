"""When a worker has to be killed, with time as an argument."""

import os
from datetime import UTC, datetime

import pytest

from jobs.schema import Claim, Progress, Record, Status
from jobs.settings import JobSettings
from tests.specs import make_spec
from worker.supervisor_pipe import PipeMessage, PipeReader, SupervisorPipe
from worker.watchdog import Overdue, Watchdog

SETTINGS = JobSettings(lease_s=5, kill_grace_s=5, job_timeout_s=600, commit_patience_s=300)
SILENCE_S = 10.0


def make_claim(prompt: str = "") -> Claim:
    record = Record(
        id="job",
        tenant="local",
        status=Status.RUNNING,
        attempt=1,
        spec=make_spec().model_copy(update={"prompt": prompt}),
        progress=Progress(step=0, steps=0, value=0.0),
        queue_position=None,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        finished_at=None,
        error=None,
        result=None,
        preview_key=None,
    )
    return Claim(record=record, attempt=1, worker_id="w1")


@pytest.fixture
def watchdog() -> Watchdog:
    watchdog = Watchdog(SETTINGS)
    watchdog.receive(PipeMessage(event="busy", claim=make_claim()), 1000.0)
    return watchdog


def beat_until(watchdog: Watchdog, now: float) -> None:
    watchdog.receive(PipeMessage(event="beat"), now)


def test_an_idle_worker_may_be_silent() -> None:
    watchdog = Watchdog(SETTINGS)
    assert watchdog.overdue(1e9) is None
    watchdog.receive(PipeMessage(event="busy", claim=make_claim()), 0.0)
    watchdog.receive(PipeMessage(event="idle"), 1.0)
    assert watchdog.claim is None
    assert watchdog.overdue(1e9) is None


def test_a_busy_worker_must_beat(watchdog: Watchdog) -> None:
    assert watchdog.overdue(1000.0 + SILENCE_S) is None
    assert watchdog.overdue(1000.1 + SILENCE_S) is Overdue.SILENT
    beat_until(watchdog, 1009.0)
    assert watchdog.overdue(1009.0 + SILENCE_S) is None


def test_a_run_has_a_limit_however_lively(watchdog: Watchdog) -> None:
    beat_until(watchdog, 1605.0)
    assert watchdog.overdue(1605.0) is None
    assert watchdog.overdue(1605.1) is Overdue.TIMEOUT


def test_a_finished_result_has_time_of_its_own(watchdog: Watchdog) -> None:
    watchdog.receive(PipeMessage(event="storing"), 1600.0)
    beat_until(watchdog, 1905.0)
    assert watchdog.overdue(1905.0) is None
    assert watchdog.overdue(1905.1) is Overdue.STORING


def test_the_next_job_starts_afresh(watchdog: Watchdog) -> None:
    watchdog.receive(PipeMessage(event="storing"), 1500.0)
    watchdog.receive(PipeMessage(event="idle"), 1501.0)
    watchdog.receive(PipeMessage(event="busy", claim=make_claim()), 3000.0)
    beat_until(watchdog, 3601.0)
    assert watchdog.overdue(3601.0) is None


def test_messages_go_through_the_pipe_whole() -> None:
    """Also a claim that is longer than the pipe's atomic write, and lines that arrive in pieces."""
    read_end, write_end = os.pipe()
    claim = make_claim("ü" * 2000)
    pipe = SupervisorPipe(write_end)
    with PipeReader(read_end) as reader:
        pipe.busy(claim)
        os.write(write_end, b'{"event": "be')
        received = reader.read(1.0)
        assert [message.event for message in received] == ["busy"]
        assert received[0].claim == claim
        os.write(write_end, b'at"}\n')
        pipe.idle()
        assert [message.event for message in reader.read(1.0)] == ["beat", "idle"]
        os.close(write_end)
        assert reader.read(0.0) == []
        assert reader.read(0.0) == []


def test_a_dead_supervisor_is_no_fault_of_the_worker() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    SupervisorPipe(write_end).beat()
    os.close(write_end)
