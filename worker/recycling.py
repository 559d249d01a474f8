"""When a worker process is replaced by a fresh one: after many jobs, memory growth, or running out of device memory."""

import os
import sys
from pathlib import Path

MAX_OUT_OF_MEMORY = 2
"""So many runs that fail for lack of device memory mean that the process itself keeps memory."""


class RecyclingPolicy:
    """Counts in the thread that runs the jobs. Memory growth is that of the process' resident memory since now."""

    def __init__(self, max_jobs: int, max_growth_mb: int) -> None:
        self._max_jobs = max_jobs
        self._max_growth_mb = max_growth_mb
        self._start_mb = resident_mb()
        self._jobs = 0
        self._out_of_memory = 0

    def count_job(self) -> None:
        self._jobs += 1

    def count_out_of_memory(self) -> None:
        """The device had too little memory even for the smaller run."""
        self._out_of_memory += 1

    @property
    def reason(self) -> str | None:
        """Why the process shall be replaced after the current job; None: it need not be."""
        if self._out_of_memory >= MAX_OUT_OF_MEMORY:
            return "out of memory again"
        if self._jobs >= self._max_jobs:
            return f"{self._jobs} jobs served"
        growth_mb = resident_mb() - self._start_mb
        if growth_mb > self._max_growth_mb:
            return f"{growth_mb} MB more than at the start"
        return None


def resident_mb() -> int:
    """Resident memory of this process in MiB; 0 on systems without /proc, where no growth is seen."""
    if sys.platform != "linux":
        return 0
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20
