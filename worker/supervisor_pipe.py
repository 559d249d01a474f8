"""The pipe from a worker process to its supervisor, which works also while Redis is away.

One JSON object a line. The pipe ends with the worker, so a worker that dies need not send anything; sending to a
supervisor that has died is no error.
"""

import os
import select
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from jobs.schema import Claim

EX_CONFIG = 78
"""Exit status of a worker whose checkpoint cannot be used, as in sysexits.h."""
EX_DEVICE = 74
"""Exit status of a worker whose device failed in a way that only a new process mends."""
EX_RETIRED = 75
"""Exit status of a worker that wants to be replaced."""
Event = Literal["busy", "beat", "storing", "idle"]


class PipeMessage(BaseModel):
    """One line of the pipe. `claim` comes with `busy`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event: Event
    claim: Claim | None = None


class SupervisorPipe:
    """The worker's end. Without a file descriptor nothing is sent: a worker can run without a supervisor."""

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        if descriptor is not None:
            os.set_inheritable(descriptor, False)

    def busy(self, claim: Claim) -> None:
        """The worker has claimed a job."""
        self._send("busy", claim)

    def beat(self) -> None:
        """The job moves. The supervisor kills a busy worker that sends no beat."""
        self._send("beat")

    def storing(self) -> None:
        """The result is computed and waits to be stored: the limit on the run no longer applies."""
        self._send("storing")

    def idle(self) -> None:
        """The worker has no job any more."""
        self._send("idle")

    def _send(self, event: Event, claim: Claim | None = None) -> None:
        if self._descriptor is None:
            return
        line = PipeMessage(event=event, claim=claim).model_dump_json() + "\n"
        with self._lock, suppress(BrokenPipeError):
            os.write(self._descriptor, line.encode())


class PipeReader:
    """The supervisor's end; a context manager that closes the file descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._partial = b""
        self._ended = False
        os.set_blocking(descriptor, False)

    def read(self, timeout_s: float) -> list[PipeMessage]:
        """The messages since the last call; waits for one at most `timeout_s` seconds, and may return none."""
        if self._ended:
            time.sleep(timeout_s)
            return []
        select.select([self._descriptor], [], [], timeout_s)
        with suppress(BlockingIOError):
            while chunk := os.read(self._descriptor, 65_536):
                self._partial += chunk
            self._ended = True
        *lines, self._partial = self._partial.split(b"\n")
        return [PipeMessage.model_validate_json(line) for line in lines]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
