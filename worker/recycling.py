"""When a worker process has served long enough: a fresh one is cheaper than what collects in an old one."""

import os
import sys
from pathlib import Path

MAX_OUT_OF_MEMORY = 2
"""Memory of the device that runs out again and again is memory that somebody keeps."""


class Wear:
    """Counted by the thread that runs the jobs. Memory is resident memory of the process, compared with now."""

    def __init__(self, max_jobs: int, max_growth_mb: int) -> None:
        self._max_jobs = max_jobs
        self._max_growth_mb = max_growth_mb
        self._start_mb = resident_mb()
        self._jobs = 0
        self._out_of_memory = 0

    def job_over(self) -> None:
        self._jobs += 1

    def out_of_memory(self) -> None:
        """The device had too little memory for a run."""
        self._out_of_memory += 1

    @property
    def reason(self) -> str | None:
        """Why another process should take this one's place; None: it need not."""
        if self._out_of_memory >= MAX_OUT_OF_MEMORY:
            return "out of memory again"
        if self._jobs >= self._max_jobs:
            return f"{self._jobs} jobs served"
        growth_mb = resident_mb() - self._start_mb
        if growth_mb > self._max_growth_mb:
            return f"{growth_mb} MB more than at the start"
        return None


def resident_mb() -> int:
    """Resident memory of this process; 0 where /proc does not tell, so that growth is never seen."""
    if sys.platform != "linux":
        return 0
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20
