"""A whole stack with a fast stand-in for the sampler: Redis, objects, and supervised workers as real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobs.collect import Collector
from jobs.connect import connect_redis
from jobs.embedded import EmbeddedRedis
from jobs.objects import ObjectStore
from jobs.schema import Record, WorkerState
from jobs.settings import JobSettings
from jobs.store import JobStore, new_job_id
from tests.specs import make_spec, put_inputs

PROGRAM = (
    "import sys; from jobs.lifeline import die_with_parent; die_with_parent(int(sys.argv[1]));"
    "from worker.supervisor import main;"
    "sys.exit(main(command=(sys.executable, '-m', 'tests.faults.stub_worker')))"
)
START_TIMEOUT_S = 90.0


def until(condition: Callable[[], object], within_s: float, what: str) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(0.02)


class Stack:
    """`supervisors` are the processes of this stack's workers, one each."""

    def __init__(self, settings: JobSettings) -> None:
        assert settings.redis_url is not None
        self.settings = settings
        self.store = JobStore(connect_redis(settings.redis_url), settings)
        self.objects = ObjectStore.from_settings(settings)
        self.supervisors: list[subprocess.Popen[bytes]] = []

    def start_worker(self, program: str = PROGRAM) -> subprocess.Popen[bytes]:
        """Returns its supervisor when the worker is ready."""
        known = {worker.worker_id for worker in self.store.workers()}
        environment = {**os.environ, **self.settings.environment(), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen([sys.executable, "-c", program, str(os.getpid())], env=environment)
        self.supervisors.append(process)
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

    def get(self, job_id: str) -> Record:
        return self.store.get(job_id, tenant="local")

    def until_step(self, job_id: str, step: int, within_s: float = 30.0) -> None:
        until(lambda: self.get(job_id).progress.step >= step, within_s, f"step {step} of {job_id}")

    def until_end(self, job_id: str, within_s: float = 90.0) -> Record:
        until(lambda: self.get(job_id).status.terminal, within_s, f"an end of {job_id}")
        return self.get(job_id)

    def collect(self) -> None:
        Collector(self.store, self.objects, leftover_age_s=0).collect()

    def stop(self) -> None:
        for process in self.supervisors:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.supervisors:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


@contextmanager
def running_stack(server: EmbeddedRedis, data_dir: Path, **settings: Any) -> Iterator[Stack]:
    quick = {"lease_s": 2.0, "reap_every_s": 0.2, "kill_grace_s": 2.0, **settings}
    stack = Stack(JobSettings(redis_url=server.url, data_dir=data_dir, **quick))
    try:
        yield stack
    finally:
        stack.stop()


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
