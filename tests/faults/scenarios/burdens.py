"""Jobs that kill or block their workers, a full disk, a full queue: and what healthy jobs feel of it."""

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from cli.stack.embedded import start_redis
from jobs.schema import Status
from service.settings import ServiceSettings
from tests.contract.http.conftest import serving
from tests.faults.promise import Figures, check_promise
from tests.faults.scenario import Unavailable, scenario
from tests.faults.scenarios.deaths import DEFAULT_TIMES
from tests.faults.scenarios.redis import Load
from tests.faults.stack import Stack, gone, running_stack, until

RATE_KEPT = 0.9


def _healthy(stack: Stack, jobs: int) -> list[str]:
    """Nearly all of their time is sleep, so that a busy machine changes little of it."""
    return [stack.submit(steps=1, pause_s=1.0) for _ in range(jobs)]


def _seconds(stack: Stack, ids: list[str]) -> float:
    """From the submission of the first of them until all are over."""
    ends = [stack.until_end(job, 1200).finished_at for job in ids]
    return (max(end for end in ends if end) - stack.get(ids[0]).created_at).total_seconds()


def _bad_job(folder: Path, jobs: int, **behaviour: Any) -> Figures:
    """One bad job among healthy ones on two workers. Compares with as many healthy ones alone, half of them before and
    half after, so that a machine that grows busier or idler meanwhile changes nothing."""
    with (
        start_redis(folder) as server,
        running_stack(server, folder, log=folder / "log", max_queued=10 * jobs, **DEFAULT_TIMES) as stack,
    ):
        for _ in range(2):
            stack.start_worker()
        before = _healthy(stack, jobs // 2)
        before_s = _seconds(stack, before)
        bad = stack.submit(**behaviour)
        beside = _healthy(stack, jobs)
        beside_s = _seconds(stack, beside)
        over = time.time()
        ended = stack.until_end(bad, 120)
        assert ended.error is not None
        assert (ended.status, ended.error.code, ended.attempt) == (Status.FAILED, "worker_lost", 3)
        after = _healthy(stack, jobs // 2)
        after_s = _seconds(stack, after)
        figures = check_promise(stack, [*before, bad, *beside, *after])
        assert figures["succeeded"] == 2 * jobs
        lost_s = _lost_s(stack, bad, over)
        rates = _rates([before_s, after_s], [beside_s]) | {
            "worker_s_lost": round(lost_s, 1),
            "rate_kept_by_living": round((before_s + after_s) / (beside_s - lost_s / 2), 3),
        }
        return {"healthy": jobs, "attempts": ended.attempt, **rates, **figures}


def _lost_s(stack: Stack, bad: str, over: float) -> float:
    """Seconds of two workers together, until `over`, from taking the bad job to being ready again: what it costs them,
    most of it a process that starts. Whose readiness belongs to which loss makes no difference to the sum."""
    taken = [_at(event) for event in stack.events("job.claimed") if event["job_id"] == bad]
    back = sorted(_at(event) for event in stack.events("worker.ready"))[2:]
    return sum(min(end, over) for end in [*back, *[over] * len(taken)][: len(taken)]) - sum(taken)


def _at(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["timestamp"]).timestamp()


def _rates(alone_s: Sequence[float], beside_s: Sequence[float]) -> Figures:
    """How long equal parts of as many jobs took without and with the fault. The spread is what the machine did to parts
    that should have taken equally long."""
    return {
        "alone_s": round(sum(alone_s), 1),
        "beside_s": round(sum(beside_s), 1),
        "alone_spread": round(max(alone_s) / min(alone_s), 3),
        "rate_kept": round(sum(alone_s) / sum(beside_s), 3),
    }


@scenario(
    fault="a poison job kills its worker on every attempt, among healthy jobs on two workers",
    short={"jobs": 4},
    full=[{"jobs": 300}],
)
def poison(folder: Path, *, jobs: int) -> Figures:
    return _judged(_bad_job(folder, jobs, kill_at=1), jobs)


@scenario(
    fault="a job hangs in native code that no signal handler reaches, among healthy jobs on two workers",
    short={"jobs": 4},
    full=[{"jobs": 300}],
)
def hang_in_native_code(folder: Path, *, jobs: int) -> Figures:
    return _judged(_bad_job(folder, jobs, hang_at=1), jobs)


def _judged(figures: Figures, jobs: int) -> Figures:
    """A rate means something over minutes; a short run is judged by the promise alone. A worker that the fault takes
    away is missing while it starts again, however long that takes here: judged is the rate of those that are there."""
    if jobs >= 100:
        kept = figures.get("rate_kept_by_living", figures["rate_kept"])
        assert float(kept) >= RATE_KEPT, f"healthy jobs kept {kept} of their rate: {figures}"
    return figures


@scenario(
    fault="the queue is full and clients keep submitting; what is refused, and what the accepted jobs feel of it",
    short={"jobs": 5, "rounds": 1},
    full=[{"jobs": 30, "rounds": 4}],
)
def full_queue(folder: Path, *, jobs: int, rounds: int) -> Figures:
    """A round is as many jobs as may wait, once alone and once with clients that go on submitting."""
    with ExitStack() as exits:
        server = exits.enter_context(start_redis(folder))
        stack = exits.enter_context(running_stack(server, folder, log=folder / "log", max_queued=jobs))
        api = exits.enter_context(serving(ServiceSettings(), stack.settings))
        stack.start_worker()
        accepted: list[str] = []
        alone_s, crowd_s, refused = [], [], 0
        for _ in range(rounds):
            alone = _healthy(stack, jobs)
            alone_s.append(_seconds(stack, alone))
            crowd = _healthy(stack, jobs)
            with Load(api, clients=2) as load:
                crowd_s.append(_seconds(stack, crowd))
            assert not load.broken, load.broken[:3]
            assert load.refused > 0
            for job in load.acknowledged:
                stack.until_end(job, 300)
            accepted += [*alone, *crowd, *load.acknowledged]
            refused += load.refused
        figures = check_promise(stack, accepted)
        return _judged({"refused": refused, **_rates(alone_s, crowd_s), **figures}, jobs * rounds)


@scenario(
    fault="the disk of the objects is full when a result is written and when a client submits",
    short={"seconds": 3},
    full=[{"seconds": 30}],
)
def disk_of_objects_full(folder: Path, *, seconds: float) -> Figures:
    with ExitStack() as exits:
        disk = folder / "disk"
        exits.enter_context(_small_disk(disk, 8))
        server = exits.enter_context(start_redis(folder))
        stack = exits.enter_context(
            running_stack(server, folder, log=folder / "log", objects_url=(disk / "objects").as_uri())
        )
        api = exits.enter_context(serving(ServiceSettings(), stack.settings))
        stack.start_worker()
        finish, runs = folder / "finish", folder / "runs"
        job = stack.submit(steps=1, finish=str(finish), log=str(runs))
        until(lambda: stack.get(job).progress.step == 1, 60, "the last step is done")
        with _filled(disk):
            finish.touch()
            answer = api.submit()
            assert (answer.status_code, answer.json()["code"]) == (503, "objects_unavailable"), answer.text
            time.sleep(seconds)
            assert stack.get(job).status is Status.RUNNING
        record = stack.until_end(job, 30)
        assert (record.status, record.attempt, len(runs.read_text().split())) == (Status.SUCCEEDED, 1, 1)
        figures = check_promise(stack, [job, stack.until_end(stack.submit()).id])
        return {"full_s": seconds, "refused": answer.status_code, **figures}


@scenario(
    fault="the disk of Redis is full; what is acknowledged before stays, and nothing is acknowledged meanwhile",
    short={"jobs": 20},
    full=[{"jobs": 200}],
)
def disk_of_redis_full(folder: Path, *, jobs: int) -> Figures:
    with ExitStack() as exits:
        disk = folder / "disk"
        exits.enter_context(_small_disk(disk, 8))
        server = exits.enter_context(start_redis(disk))
        objects = (folder / "objects").as_uri()
        stack = exits.enter_context(running_stack(server, disk, log=folder / "log", objects_url=objects))
        api = exits.enter_context(serving(ServiceSettings(), stack.settings))
        stack.start_worker()
        ids = [stack.submit(steps=1) for _ in range(jobs)]
        with _filled(disk):
            # What fits into the last page of the file is kept and may be acknowledged.
            answers = [api.submit() for _ in range(jobs)]
            ids += [answer.json()["id"] for answer in answers if answer.status_code == 202]
            assert answers[-1].status_code == 503, answers[-1].text
            assert answers[-1].json()["code"] == "store_unavailable"
        if gone(server.pid):  # it does not go on when it cannot keep what it has promised
            server.stop()
            exits.enter_context(start_redis(disk))
        stack.until_all_end()
        ids.append(stack.until_end(stack.submit()).id)
        stack.stop()
        refused = sum(answer.status_code == 503 for answer in answers)
        return {"jobs": jobs, "refused": refused, **check_promise(stack, ids)}


@contextmanager
def _filled(disk: Path) -> Iterator[None]:
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    yield
    filler.unlink()


@contextmanager
def _small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A file system of this size at `folder`. Raises Unavailable where this process may not mount one."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
