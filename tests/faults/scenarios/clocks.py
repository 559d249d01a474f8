"""Clocks that are wrong."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from cli.stack.embedded import start_redis
from tests.faults.promise import Figures, check_promise
from tests.faults.scenario import Unavailable, scenario
from tests.faults.stack import Stack, running_stack

LIBRARIES = [
    found for place in ("*/faketime", "faketime") for found in Path("/usr/lib").glob(f"{place}/libfaketimeMT.so.1")
]

TIMES = {"lease_s": 30.0, "reap_every_s": 0.5, "kill_grace_s": 10.0}
"""Far below the error of the clocks, and far above what a busy machine makes a healthy worker late."""


@scenario(
    fault="the wall clock of one worker group is five minutes ahead, that of another five minutes behind",
    short={"rounds": 1, "steps": 60, "controls": 0},
    full=[{"rounds": 6, "steps": 200, "controls": 1}],
)
def wrong_clocks(folder: Path, *, rounds: int, steps: int, controls: int) -> Figures:
    """Both are at work at the same time, and reap what they take for dead. A control is a stack of its own with right
    clocks and the same jobs at the same time: what is taken from its workers is the doing of a machine that stalls."""
    if not LIBRARIES:
        raise Unavailable("libfaketime is not installed (Debian package faketime)")
    with ExitStack() as exits:
        wrong, *right = [exits.enter_context(_running(folder / str(number))) for number in range(1 + controls)]
        for offset in ("+300s", "-300s"):
            wrong.start_worker(**_clock(folder, offset))
            for stack in right:
                stack.start_worker()
        jobs: dict[Stack, list[str]] = {stack: [] for stack in (wrong, *right)}
        done = 0
        while done < rounds or (
            _spread_s(wrong, jobs[wrong]) < 500 and done < rounds + 10
        ):  # one may start long before the other
            batch = [(stack, stack.submit(steps=steps, pause_s=0.2)) for stack in jobs for _ in range(2)]
            for stack, job in batch:
                stack.until_end(job, 300)
                jobs[stack].append(job)
            done += 1
        spread_s = _spread_s(wrong, jobs[wrong])
        assert spread_s > 500, f"the clocks were only {spread_s:.0f} s apart"
        found = {stack: check_promise(stack, ids) for stack, ids in jobs.items()}
        assert all(figures["succeeded"] == len(jobs[stack]) for stack, figures in found.items())
        reaped, expected = _reaped(wrong), sum(map(_reaped, right))
        assert reaped <= expected, f"{reaped} jobs taken from living workers, {expected} where clocks are right"
        measured = {"clocks_apart_s": round(spread_s), "falsely_reaped": reaped}
        return {
            "jobs": len(jobs[wrong]),
            **measured,
            **({"by_right_clocks": expected} if right else {}),
            **found[wrong],
        }


@contextmanager
def _running(folder: Path) -> Iterator[Stack]:
    with start_redis(folder) as server, running_stack(server, folder, log=folder / "log", **TIMES) as stack:
        yield stack


def _reaped(stack: Stack) -> int:
    """Jobs that were taken from their workers, none of which has died."""
    return sum(event["requeued"] + event["failed"] for event in stack.events("jobs.reaped"))


def _spread_s(stack: Stack, ids: list[str]) -> float:
    """How far apart, in seconds, the clocks are by which two jobs were finished that had been submitted together. A
    worker writes its log after the record, so the last pair may not be in the log yet."""
    finished = {event["job_id"]: datetime.fromisoformat(event["timestamp"]) for event in stack.events("job.finished")}
    pairs = [pair for pair in zip(ids[::2], ids[1::2], strict=True) if finished.keys() >= set(pair)]
    return max((abs((finished[one] - finished[other]).total_seconds()) for one, other in pairs), default=0.0)


def _clock(folder: Path, offset: str) -> dict[str, str]:
    """Environment of a process whose wall clock is off by `offset`.

    Waiting is not what is tried here, so the monotonic clock stays right. libfaketime cannot leave it alone in
    clock_nanosleep with an absolute time, which `time.sleep` uses and which then fails; a sleep by select does not.
    """
    site = "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds) and None\n"
    (folder / "sitecustomize.py").write_text(site)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": path,
    }
