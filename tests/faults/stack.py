"""A whole stack with a fast stand-in for the sampler: Redis, objects, and supervised workers as real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from cli.stack.embedded import EmbeddedRedis
from jobs.errors import StoreUnavailable
from jobs.garbage_collector import GarbageCollector
from jobs.objects import ObjectStore
from jobs.schema import Record, WorkerState
from jobs.settings import JobSettings
from jobs.stores.connection import connect_redis
from jobs.stores.job_store import JobStore, new_job_id
from jobs.stores.redis_stores import RedisStores
from tests.specs import make_spec, put_inputs

PROGRAM = (
    "import sys; from jobs.lifeline import die_with_parent; die_with_parent(int(sys.argv[1]));"
    "from worker.supervisor import main;"
    "sys.exit(main(command=(sys.executable, '-m', 'tests.faults.stub_worker')))"
)
START_TIMEOUT_S = 300.0


def until(condition: Callable[[], object], within_s: float, what: str) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(0.02)


class Stack:
    """`supervisors` are the processes of this stack's workers, one each. They log to the file `log`, or to stderr."""

    def __init__(self, settings: JobSettings, log: Path | None = None) -> None:
        assert settings.redis_url is not None
        self.settings = settings
        self.url = settings.redis_url
        self.log = log
        self.stores = RedisStores.open(connect_redis(settings.redis_url), settings)
        self.objects = ObjectStore.from_settings(settings)
        self.supervisors: list[subprocess.Popen[bytes]] = []

    @property
    def store(self) -> JobStore:
        return self.stores.jobs

    def start_supervisor(self, program: str = PROGRAM, **environment: str) -> subprocess.Popen[bytes]:
        """Does not wait for its worker. `environment` goes over the settings."""
        given = {**os.environ, **self.settings.environment(), "OMP_NUM_THREADS": "1", **environment}
        with ExitStack() as files:
            log = files.enter_context(self.log.open("ab")) if self.log else None
            command = [sys.executable, "-c", program, str(os.getpid())]
            process = subprocess.Popen(command, env=given, stderr=log)
        self.supervisors.append(process)
        return process

    def start_worker(self, program: str = PROGRAM, **environment: str) -> subprocess.Popen[bytes]:
        """Returns its supervisor when the worker is ready."""
        known = self.ready()
        process = self.start_supervisor(program, **environment)
        until(lambda: self.ready() - known, START_TIMEOUT_S, "a new worker is ready")
        return process

    def ready(self) -> set[str]:
        """Ids of the workers that can take a job or have one."""
        able = (WorkerState.READY, WorkerState.BUSY)
        return {worker.worker_id for worker in self.store.workers() if worker.state in able}

    def submit(self, **behaviour: Any) -> str:
        """`behaviour` as in `stub_pipeline`."""
        job_id = new_job_id()
        spec = make_spec(job_id=job_id, **behaviour)
        put_inputs(self.objects, spec)
        self.store.submit(spec, job_id=job_id)
        return job_id

    def events(self, name: str) -> list[dict[str, Any]]:
        """What the workers and supervisors have logged under this name."""
        assert self.log is not None
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            with suppress(ValueError):  # a line of a killed process
                found.append(json.loads(line))
        return [event for event in found if isinstance(event, dict) and event.get("event") == name]

    def get(self, job_id: str) -> Record:
        return self.store.get(job_id, tenant="local")

    def records(self) -> list[Record]:
        """Of all jobs that have not been deleted."""
        page = self.store.list_jobs(tenant="local", limit=1000)
        found = page.items
        while page.next is not None:
            page = self.store.list_jobs(tenant="local", limit=1000, cursor=page.next)
            found += page.items
        return found

    def until_all_end(self, within_s: float = 300.0) -> None:
        """Of all jobs, also of those whose submission was answered by an error after they had been queued.

        `within_s` is for each after the one before it.
        """
        for record in reversed(self.records()):  # oldest first, as they are served
            if not record.status.terminal:
                self.until_end(record.id, within_s)

    def until_step(self, job_id: str, step: int, within_s: float = 30.0) -> None:
        until(lambda: self.get(job_id).progress.step >= step, within_s, f"step {step} of {job_id}")

    def until_end(self, job_id: str, within_s: float = 90.0) -> Record:
        until(lambda: self._over(job_id), within_s, f"an end of {job_id}")
        return self.get(job_id)

    def _over(self, job_id: str) -> bool:
        """Who only looks on may wait for a Redis that does not answer just now."""
        try:
            return self.get(job_id).status.terminal
        except StoreUnavailable:
            return False

    def collect(self) -> None:
        """Everything that is due now."""
        collector = GarbageCollector(self.stores, self.objects, leftover_age_s=0, abandoned_age_s=0)
        while collector.collect(limit=1000):
            pass

    def stop(self) -> None:
        for process in self.supervisors:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.supervisors:
            try:
                process.wait(90)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


@contextmanager
def running_stack(
    server: EmbeddedRedis, data_dir: Path, *, log: Path | None = None, **settings: Any
) -> Iterator[Stack]:
    """With shorter times than the default ones, unless `settings` set others."""
    quick = {"lease_s": 2.0, "reap_every_s": 0.2, "kill_grace_s": 2.0, **settings}
    stack = Stack(JobSettings(redis_url=server.url, data_dir=data_dir, **quick), log)
    try:
        yield stack
    finally:
        stack.stop()


def kill_group(supervisor: subprocess.Popen[bytes]) -> None:
    """`kill -9` of a supervisor and of its worker, if it has one."""
    children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()
    for pid in (supervisor.pid, *map(int, children)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    supervisor.wait()


def worker_of(supervisor: subprocess.Popen[bytes]) -> int:
    """Process id of the supervisor's worker, which must have one now."""
    children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()
    assert len(children) == 1, children
    return int(children[0])


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
