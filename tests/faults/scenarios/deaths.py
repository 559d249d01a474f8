"""Workers and whole groups of processes are killed, or stopped for a while."""

import hashlib
import itertools
import os
import random
import signal
import subprocess
import time
from pathlib import Path

from redis import Redis

from cli.stack.embedded import start_redis
from jobs.schema import Status
from jobs.stores.connection import connect_redis
from jobs.stores.scripts import source
from tests.faults.promise import Figures, check_promise
from tests.faults.scenario import percentile, scenario
from tests.faults.stack import Stack, kill_group, running_stack, until, worker_of
from tests.lossy import lossy_way

DEFAULT_TIMES = {"lease_s": 5.0, "reap_every_s": 1.0, "kill_grace_s": 5.0}
"""Those that a deployment has unless it sets others; see `JobSettings`."""

PATIENCE_S = 120.0
TICKETS = "rq:queue:plumage"
Group = subprocess.Popen[bytes]
"""A supervisor and its worker."""


@scenario(
    fault="`kill -9` of random workers and of whole worker groups (supervisor and worker) while jobs run",
    short={"jobs": 60, "kills": 3, "workers": 2},
    full=[{"jobs": 500, "kills": 5, "workers": 2}, {"jobs": 2000, "kills": 100, "workers": 3}],
)
def random_kills(folder: Path, *, jobs: int, kills: int, workers: int) -> Figures:
    rng = random.Random(jobs)
    with (
        start_redis(folder) as server,
        running_stack(server, folder, log=folder / "log", max_queued=jobs, **DEFAULT_TIMES) as stack,
    ):
        slots = [stack.start_worker() for _ in range(workers)]
        ids = [stack.submit(steps=2, pause_s=0.15) for _ in range(jobs)]
        began = time.monotonic()
        groups = 0
        with connect_redis(server.url) as redis:

            def until_left(most: int) -> None:
                until(lambda: redis.scard("plumage:active:local") <= most, 600, f"at most {most} jobs are left")

            for kill in range(1, kills + 1):
                until_left(jobs - kill * jobs // (kills + 1))
                groups += _kill_one(stack, slots, rng)
            until_left(0)
        figures = check_promise(stack, ids)
        assert figures["succeeded"] == jobs, f"{jobs - int(figures['succeeded'])} healthy jobs failed"
        seconds = round(time.monotonic() - began, 1)
        return {"jobs": jobs, "kills": kills, "of_groups": groups, "seconds": seconds, **figures}


def _kill_one(stack: Stack, slots: list[Group], rng: random.Random) -> bool:
    """Kills one of the workers that live now; true when its supervisor went with it, and was replaced."""
    while True:
        slot = rng.randrange(len(slots))
        try:
            worker = worker_of(slots[slot])
        except AssertionError:
            time.sleep(0.05)  # just dead: its supervisor pauses before the next one
            continue
        time.sleep(rng.uniform(0, 0.3))
        if rng.random() < 0.5:
            kill_group(slots[slot])
            slots[slot] = stack.start_supervisor()
            return True
        os.kill(worker, signal.SIGKILL)
        return False


@scenario(
    fault="of two worker groups the one that runs the job is killed; time until the survivor runs its next attempt",
    short={"cycles": 1},
    full=[{"cycles": 50}],
)
def survivor_takes_over(folder: Path, *, cycles: int) -> Figures:
    with (
        start_redis(folder) as server,
        running_stack(server, folder, log=folder / "log", **DEFAULT_TIMES) as stack,
    ):
        ids, seconds = [], []
        groups = [stack.start_worker()]
        for cycle in range(cycles):
            groups.append(stack.start_worker())
            job, survivor, took_s = _lose_one_of_two(stack, folder / str(cycle), groups)
            ids.append(job)
            seconds.append(took_s)
            groups = [survivor]
        figures = check_promise(stack, ids)
        p99 = percentile(seconds, 99)
        assert p99 <= 9, f"p99 {p99:.1f} s"
        times = {"p50_s": round(percentile(seconds, 50), 2), "p99_s": round(p99, 2), "max_s": round(max(seconds), 2)}
        return {"cycles": cycles, **times, **figures}


def _lose_one_of_two(stack: Stack, folder: Path, groups: list[Group]) -> tuple[str, Group, float]:
    """A job that was run by both, the group that is left, and how long it took until that one ran the job."""
    folder.mkdir()
    runs, gate = folder / "runs", folder / "gate"
    job = stack.submit(steps=4, gate=str(gate), log=str(runs))
    until(lambda: len(_pids(runs)) == 1, PATIENCE_S, "the job runs")
    time.sleep(random.uniform(0, 2))  # any moment between two renewals of the lease
    victim, survivor = sorted(groups, key=lambda group: worker_of(group) not in _pids(runs))
    kill_group(victim)
    killed = time.monotonic()
    until(lambda: len(_pids(runs)) == 2, PATIENCE_S, "the next attempt runs")
    took_s = time.monotonic() - killed
    gate.touch()
    assert stack.until_end(job).attempt == 2
    return job, survivor, took_s


@scenario(
    fault="a worker is paused (SIGSTOP) past its lease with the finished result in its hands, then resumed",
    short={"times": 1},
    full=[{"times": 20}],
)
def paused_past_the_lease(folder: Path, *, times: int) -> Figures:
    # Its supervisor would kill it; that patience is made longer than the pause.
    with (
        start_redis(folder) as server,
        running_stack(server, folder, log=folder / "log", kill_grace_s=300.0) as stack,
    ):
        for _ in range(2):
            stack.start_worker()
        ids = [_pause_and_resume(stack, folder / str(number), number) for number in range(1, times + 1)]
        return {"times": times, "refused": _refused(stack), **check_promise(stack, ids)}


def _pause_and_resume(stack: Stack, folder: Path, number: int) -> str:
    folder.mkdir()
    runs, finish = folder / "runs", folder / "finish"
    job = stack.submit(steps=1, finish=str(finish), log=str(runs))
    until(lambda: stack.get(job).progress.step == 1, PATIENCE_S, "the last step is done")
    (paused,) = _pids(runs)
    os.kill(paused, signal.SIGSTOP)
    until(lambda: len(_pids(runs)) == 2, PATIENCE_S, "the next attempt runs")
    finish.touch()
    ended = stack.until_end(job)
    assert (ended.status, ended.attempt) == (Status.SUCCEEDED, 2)
    os.kill(paused, signal.SIGCONT)
    until(lambda: _refused(stack) == number, PATIENCE_S, "the late commit is refused")
    assert stack.get(job) == ended
    return job


@scenario(
    fault="a worker group is killed between taking a ticket or a job from Redis and starting on it",
    short={"times": 1},
    full=[{"times": 10}],
)
def killed_before_the_start(folder: Path, *, times: int) -> Figures:
    """The answer to what Redis has done is lost on the way to the worker, which is then killed."""
    points = {"ticket": b"BLMOVE", "job": source_hash("claim")}
    seconds: dict[str, list[float]] = {point: [] for point in points}
    with (
        start_redis(folder) as server,
        running_stack(server, folder, log=folder / "log", **DEFAULT_TIMES) as stack,
        connect_redis(server.url) as redis,
    ):
        stack.start_worker()
        ids = []
        for number, (point, request) in itertools.product(range(times), points.items()):
            jobs, took_s = _kill_deaf(stack, redis, folder / f"{number}-{point}", request)
            ids += jobs
            seconds[point].append(took_s)
        slowest = max(map(max, seconds.values()))
        assert slowest <= 15, f"{slowest:.1f} s"
        times_s = {f"{point}_max_s": round(max(values), 2) for point, values in seconds.items()}
        return {"times": times * len(points), **times_s, **check_promise(stack, ids)}


def _kill_deaf(stack: Stack, redis: Redis, folder: Path, request: bytes) -> tuple[list[str], float]:
    """Kills a worker that has not received the answer to this request. Its job and another one, and how long that job
    took to wait in line again."""
    folder.mkdir()
    runs, gate = folder / "runs", folder / "gate"
    with lossy_way(stack.url) as way:
        busy = stack.submit(gate=str(gate), log=str(runs))
        until(lambda: _pids(runs), PATIENCE_S, "the other worker is busy")
        victim = stack.start_worker(PLUMAGE_REDIS_URL=way.url)
        way.lose_after = request
        if request == b"BLMOVE":
            until(way.lost.is_set, PATIENCE_S, "the worker waits for a ticket")
        job = stack.submit()
        until(way.lost.is_set, PATIENCE_S, "the worker asks for a job")
        until(lambda: redis.llen(TICKETS) == 0, PATIENCE_S, "the ticket is taken")
        if request != b"BLMOVE":
            until(lambda: stack.get(job).attempt == 1, PATIENCE_S, "the job is taken")
        kill_group(victim)
        killed = time.monotonic()
        until(
            lambda: stack.get(job).status is Status.QUEUED and redis.llen(TICKETS) > 0,
            PATIENCE_S,
            "the job waits again",
        )
        took_s = time.monotonic() - killed
    gate.touch()
    return [stack.until_end(busy).id, stack.until_end(job).id], took_s


@scenario(
    fault="a reaper is killed in the middle: its round has taken effect, the tickets have not been issued",
    short={"times": 1},
    full=[{"times": 20}],
)
def killed_while_reaping(folder: Path, *, times: int) -> Figures:
    with (
        start_redis(folder) as server,
        running_stack(server, folder, log=folder / "log", **DEFAULT_TIMES) as stack,
        connect_redis(server.url) as redis,
    ):
        survivor = stack.start_worker()
        ids, seconds = [], []
        for number in range(times):
            jobs, took_s = _kill_reaper(stack, redis, folder / str(number), survivor)
            ids += jobs
            seconds.append(took_s)
        assert max(seconds) <= 30, f"{max(seconds):.1f} s"
        return {"times": times, "resumed_max_s": round(max(seconds), 2), **check_promise(stack, ids)}


def _kill_reaper(stack: Stack, redis: Redis, folder: Path, survivor: Group) -> tuple[list[str], float]:
    folder.mkdir()
    runs, gate = folder / "runs", folder / "gate"
    with lossy_way(stack.url) as way:
        busy = stack.submit(gate=str(gate), log=str(runs))
        until(lambda: _pids(runs), PATIENCE_S, "the survivor's worker is busy")
        job = _claimed_by_nobody(stack)
        redis.delete(TICKETS)
        os.kill(survivor.pid, signal.SIGSTOP)  # so that the other one reaps
        victim = stack.start_supervisor(PLUMAGE_REDIS_URL=way.url)
        # Not before the lease is about to end, so that no earlier round is meant.
        time.sleep(0.8 * stack.settings.lease_s)
        way.lose_after = source_hash("reap")
        until(lambda: stack.get(job).status is Status.QUEUED, PATIENCE_S, "the job is taken from the dead worker")
        assert way.lost.is_set()
        kill_group(victim)
    os.kill(survivor.pid, signal.SIGCONT)
    killed = time.monotonic()
    until(lambda: redis.llen(TICKETS) == 1, PATIENCE_S, "the job has a ticket again")
    took_s = time.monotonic() - killed
    gate.touch()
    return [stack.until_end(busy).id, stack.until_end(job).id], took_s


def _claimed_by_nobody(stack: Stack) -> str:
    """A job whose worker is dead, and nobody knows yet."""
    job = stack.submit()
    claim = stack.store.claim("dead")
    assert claim is not None
    assert claim.record.id == job
    return job


def source_hash(script: str) -> bytes:
    """What a request to run this script contains."""
    return hashlib.sha1(source(script).encode(), usedforsecurity=False).hexdigest().encode()


def _pids(runs: Path) -> list[int]:
    """Processes in which a job has run, in order."""
    return [int(line) for line in runs.read_text().split()] if runs.exists() else []


def _refused(stack: Stack) -> int:
    return sum(event["status"] == "refused" for event in stack.events("job.finished"))
