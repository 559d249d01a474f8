"""Random histories of what clients and accidents do, against a model of the promise.

Hypothesis chooses what happens next. The model knows of each acknowledged job the last state that a client saw, and so
which states may be seen next. One stack lives through all histories: the API, Redis, a supervisor and its worker are
real, and all of them but the API are killed.
"""

import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx
import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from cli.stack.embedded import EmbeddedRedis, start_redis
from jobs.schema import Status
from service.settings import ServiceSettings
from tests.contract.http.conftest import Stack as Api
from tests.contract.http.conftest import serving
from tests.faults.promise import Figures, check_promise
from tests.faults.scenario import scenario
from tests.faults.stack import Stack, kill_group, running_stack, until, worker_of

PATIENCE_S = 120.0
COME_AGAIN = ("store_unavailable", "idempotency_key_in_use")
"""What an accident in the middle of a submission may cost its client: another try."""


class World:
    """The stack, what its clients were promised, and what has happened in it."""

    def __init__(self, server: EmbeddedRedis, stack: Stack, api: Api) -> None:
        self.server, self.stack, self.api = server, stack, api
        self.supervisor = stack.start_worker()
        self.acknowledged: list[str] = []
        self.deleted: set[str] = set()
        self.happened: Counter[str] = Counter()

    def kill_worker(self) -> None:
        try:
            os.kill(worker_of(self.supervisor), signal.SIGKILL)
        except (AssertionError, ProcessLookupError):
            return  # dead already, and not yet replaced
        self.happened["workers_killed"] += 1

    def kill_group(self) -> None:
        kill_group(self.supervisor)
        self.supervisor = self.stack.start_supervisor()
        self.happened["groups_killed"] += 1

    def restart_redis(self) -> None:
        os.kill(self.server.pid, signal.SIGKILL)
        until(lambda: self.server.exit_code() is not None, 10, "Redis is dead")
        self.server.restart()
        self.happened["redis_killed"] += 1


class History(RuleBasedStateMachine):
    """`seen` is the model: the last state that a client saw of each job."""

    jobs = Bundle("jobs")

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world, self.http = world, world.api.http
        self.seen: dict[str, Status] = {}
        self.cancels: set[str] = set()
        self.first_answers: dict[str, dict[str, object]] = {}
        world.happened["histories"] += 1
        self.salt = world.happened["histories"]

    @rule(target=jobs, pause_s=st.sampled_from([0.01, 0.3]))
    def submit(self, pause_s: float) -> str:
        answer = self.world.api.submit(prompt=f'{{"steps": 3, "pause_s": {pause_s}}}')
        assert answer.status_code == 202, answer.text
        return self._promised(answer)

    @rule(target=jobs, name=st.sampled_from("ab"), redis_dies_after_s=st.sampled_from([None, None, 0.0, 0.03]))
    def submit_with_a_key(self, name: str, redis_dies_after_s: float | None) -> str:
        """Twice with one key is one job, also when Redis dies in between. A client repeats what was not accepted."""
        with ThreadPoolExecutor(1) as client:
            sent = client.submit(self._submit_until_answered, name)
            if redis_dies_after_s is not None:
                time.sleep(redis_dies_after_s)
                self.world.restart_redis()  # here: a server dies with the thread that has started it
            answer = sent.result()
        first = self.first_answers.get(name)
        if first is not None and str(first["id"]) in self.world.deleted:
            assert (answer.status_code, answer.json()["code"]) == (410, "job_gone"), answer.text
            return str(first["id"])
        assert answer.status_code == 202, answer.text
        if first is None:
            self.first_answers[name] = answer.json()
            return self._promised(answer)
        assert answer.json() == first
        self.world.happened["answered_again"] += 1
        return str(first["id"])

    @rule(name=st.sampled_from("ab"))
    def submit_something_else_with_the_key(self, name: str) -> None:
        if name in self.first_answers:
            answer = self.world.api.submit(headers=self._key(name), prompt="else", seed=8)
            assert answer.json()["code"] == "idempotency_key_reused", answer.text

    @rule(job=jobs)
    def cancel(self, job: str) -> None:
        answer = self.http.post(f"/v1/transfers/{job}/cancel")
        if job in self.world.deleted:
            assert answer.status_code == 410, answer.text
            return
        status = Status(answer.json()["status"])
        assert answer.status_code == (200 if status.terminal else 202)
        assert status.terminal or status is Status.CANCELING
        self.cancels.add(job)
        self._see(job, status)
        self.world.happened["cancels"] += 1

    @rule(job=jobs)
    def delete(self, job: str) -> None:
        answer = self.http.delete(f"/v1/transfers/{job}")
        if job in self.world.deleted:
            assert answer.status_code == 410, answer.text
        elif answer.status_code == 409:
            assert answer.json()["code"] == "invalid_transition"
            assert not self.seen[job].terminal
        else:
            assert answer.status_code == 204, answer.text
            self.world.deleted.add(job)

    @rule(what=st.sampled_from(["redis", "worker", "worker", "group"]))
    def accident(self, what: str) -> None:
        match what:
            case "worker":
                self.world.kill_worker()
            case "group":
                self.world.kill_group()
            case "redis":
                self.world.restart_redis()

    @rule(job=jobs)
    def wait_for(self, job: str) -> None:
        if job not in self.world.deleted:
            self._see_the_end(job)

    @invariant()
    def nothing_goes_back(self) -> None:
        for job in self.seen:
            answer = self.http.get(f"/v1/transfers/{job}")
            if job in self.world.deleted:
                assert answer.status_code == 410, answer.text
            else:
                self._see(job, Status(answer.json()["status"]))

    def teardown(self) -> None:
        for job in self.seen.keys() - self.world.deleted:
            self._see_the_end(job)

    def _key(self, name: str) -> dict[str, str]:
        return {"Idempotency-Key": f"{name}-{self.salt}"}

    def _submit_until_answered(self, name: str) -> httpx.Response:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            answer = self.world.api.submit(headers=self._key(name), prompt='{"steps": 3, "pause_s": 0.05}', seed=7)
            if answer.status_code in (202, 410) or time.monotonic() > deadline:
                return answer
            assert answer.json()["code"] in COME_AGAIN, answer.text
            assert "Retry-After" in answer.headers
            self.world.happened["tried_again"] += 1
            time.sleep(0.2)

    def _promised(self, answer: httpx.Response) -> str:
        job = str(answer.json()["id"])
        self.world.acknowledged.append(job)
        self.seen[job] = Status(answer.json()["status"])
        return job

    def _see_the_end(self, job: str) -> None:
        record = self.world.stack.until_end(job, PATIENCE_S)
        # Nothing here is the job's own fault, and kills are not counted against it.
        assert record.status in (Status.SUCCEEDED, Status.CANCELED), record
        assert record.status is Status.SUCCEEDED or job in self.cancels
        self._see(job, record.status)

    def _see(self, job: str, status: Status) -> None:
        before = self.seen[job]
        assert status is before or not before.terminal, f"{before} became {status}"
        assert before is not Status.CANCELING or status in (Status.CANCELING, Status.CANCELED), f"{before} to {status}"
        self.seen[job] = status


@scenario(
    fault="random histories: submissions, duplicates, cancels, deletes; deaths of worker, group and Redis meanwhile",
    short={"histories": 3, "steps": 12},
    full=[{"histories": 10, "steps": 40}],
)
def random_histories(folder: Path, *, histories: int, steps: int) -> Figures:
    with ExitStack() as exits:
        server = exits.enter_context(start_redis(folder))
        stack = exits.enter_context(running_stack(server, folder, log=folder / "log", max_attempts=100))
        world = World(server, stack, exits.enter_context(serving(ServiceSettings(), stack.settings)))
        run_state_machine_as_test(
            partial(History, world),  # type: ignore[arg-type]  # anything that makes one will do
            settings=settings(
                max_examples=histories,
                stateful_step_count=steps,
                deadline=None,
                database=None,
                # A failing history is not made shorter: it depends on when things happened, and costs seconds.
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
        stack.until_all_end()
        stack.stop()
        figures = check_promise(stack, world.acknowledged, world.deleted)
        return {**world.happened, "deleted": len(world.deleted), **figures}
