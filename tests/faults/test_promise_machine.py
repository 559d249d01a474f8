"""Random sequences of what clients and accidents do, against a model of the promise.

The model knows, for each acknowledged job, in which states it may be seen next. Redis, the supervisor and its worker
are real processes, and they are killed. `PLUMAGE_PROMISE_STEPS` and `PLUMAGE_PROMISE_RUNS` make it longer.
"""

import os
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from jobs.embedded import start_redis
from jobs.errors import InvalidTransition, JobGone
from jobs.schema import Status
from jobs.store import new_job_id
from jobs.submissions import SubmissionKey
from tests.faults.promise import check_promise
from tests.faults.stack import running_stack, until, worker_of
from tests.specs import make_spec, put_inputs

STEPS = int(os.environ.get("PLUMAGE_PROMISE_STEPS", "10"))
RUNS = int(os.environ.get("PLUMAGE_PROMISE_RUNS", "1"))

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


class Promise(RuleBasedStateMachine):
    """`seen` is the model: the last state that a client saw of each job."""

    jobs = Bundle("jobs")

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="plumage-promise-"))
        self.exits = ExitStack()
        self.server = self.exits.enter_context(start_redis(self.folder))
        self.stack = self.exits.enter_context(running_stack(self.server, self.folder, log=self.folder / "log"))
        self.supervisor = self.stack.start_worker()
        self.seen: dict[str, Status] = {}
        self.deleted: set[str] = set()
        self.first_answers: dict[str, str] = {}

    @rule(target=jobs, name=st.sampled_from(["", "a", "b"]), pause_s=st.sampled_from([0.01, 0.3]))
    def submit(self, name: str, pause_s: float) -> str:
        """With one of two keys, or without: a key's second submission is answered with its first job."""
        store, job_id = self.stack.store, new_job_id()
        key = SubmissionKey.named(name, "same") if name else None
        try:
            answered = store.submissions.reserve(job_id, tenant="local", key=key)
        except JobGone:
            assert self.first_answers[name] in self.deleted
            return self.first_answers[name]
        if answered is not None:
            assert answered.id == self.first_answers[name]
            return answered.id
        assert name not in self.first_answers
        spec = make_spec(job_id=job_id, steps=3, pause_s=pause_s)
        put_inputs(self.stack.objects, spec)
        record = store.submit(spec, job_id=job_id, key=key)
        if name:
            self.first_answers[name] = record.id
        self.seen[record.id] = record.status
        return record.id

    @rule(job=jobs)
    def cancel(self, job: str) -> None:
        try:
            record = self.stack.store.request_cancel(job, tenant="local")
        except JobGone:
            assert job in self.deleted
        else:
            assert record.status.terminal or record.status is Status.CANCELING
            self._see(job, record.status)

    @rule(job=jobs)
    def delete(self, job: str) -> None:
        try:
            self.stack.store.delete(job, tenant="local")
        except InvalidTransition:
            assert not self.seen[job].terminal
        except JobGone:
            assert job in self.deleted
        else:
            self.deleted.add(job)

    @rule()
    def kill_the_worker(self) -> None:
        try:
            os.kill(worker_of(self.supervisor), signal.SIGKILL)
        except AssertionError:
            return  # dead already, and not yet replaced

    @rule()
    def kill_redis(self) -> None:
        os.kill(self.server.pid, signal.SIGKILL)
        until(lambda: self.server.exit_code() is not None, 10, "Redis is dead")
        self.server.restart()

    @rule(job=jobs)
    def wait_for(self, job: str) -> None:
        if job not in self.deleted:
            self._see(job, self.stack.until_end(job, 300).status)

    @invariant()
    def nothing_goes_back(self) -> None:
        for job in self.seen:
            if job in self.deleted:
                with pytest.raises(JobGone):
                    self.stack.get(job)
            else:
                self._see(job, self.stack.get(job).status)

    def _see(self, job: str, status: Status) -> None:
        before = self.seen[job]
        assert status is before or not before.terminal, f"{before} became {status}"
        assert before is not Status.CANCELING or status in (Status.CANCELING, Status.CANCELED), f"{before} to {status}"
        self.seen[job] = status

    def teardown(self) -> None:
        if not hasattr(self, "exits"):
            return
        with self.exits:
            for job in self.seen.keys() - self.deleted:
                self._see(job, self.stack.until_end(job, 300).status)
            self.stack.stop()
            check_promise(self.stack, self.seen.keys(), self.deleted)
        shutil.rmtree(self.folder)


def test_the_promise_is_kept_whatever_happens() -> None:
    # A failing example would have to be repeated many times to be made smaller, and each run costs seconds.
    run_state_machine_as_test(
        Promise,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
