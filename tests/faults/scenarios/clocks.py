"""The clock of one worker is wrong."""

import os
from pathlib import Path

from jobs.embedded import start_redis
from tests.faults.promise import Figures, check_promise
from tests.faults.scenario import Unavailable, scenario
from tests.faults.scenarios.deaths import DEFAULT_TIMES
from tests.faults.stack import running_stack

LIBRARIES = [
    found for place in ("*/faketime", "faketime") for found in Path("/usr/lib").glob(f"{place}/libfaketimeMT.so.1")
]


@scenario(
    fault="the wall clock of a worker group is five minutes ahead or behind; its jobs outlast several leases",
    short={"jobs": 1},
    full=[{"jobs": 10}],
)
def wrong_clocks(folder: Path, *, jobs: int) -> Figures:
    """Each worker is in turn the one that runs a job: the right one, and those that are ahead and behind."""
    if not LIBRARIES:
        raise Unavailable("libfaketime is not installed (Debian package faketime)")
    ids = []
    with start_redis(folder) as server, running_stack(server, folder, log=folder / "log", **DEFAULT_TIMES) as stack:
        for offset in ("+300s", "-300s"):
            stack.start_worker(**_clock(folder, offset))
        for _ in range(jobs):
            batch = [stack.submit(steps=30, pause_s=0.2) for _ in range(2)]
            for job in batch:
                stack.until_end(job, 120)
            ids += batch
        reaped = sum(event["requeued"] + event["failed"] for event in stack.events("jobs.reaped"))
        assert reaped == 0, f"{reaped} jobs taken from living workers"
        figures = check_promise(stack, ids)
        assert figures["succeeded"] == len(ids)
        assert figures["attempts_max"] == 1
        return {"jobs": len(ids), "falsely_reaped": reaped, **figures}


def _clock(folder: Path, offset: str) -> dict[str, str]:
    """Environment of a process whose wall clock is off by `offset`. Waiting is not what is tried here: the monotonic
    clock stays right, and so does `time.sleep`, whose absolute form libfaketime gets wrong."""
    site = "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds) and None\n"
    (folder / "sitecustomize.py").write_text(site)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": path,
    }
