"""What a worker process tells its supervisor through a pipe, so that it is heard also when Redis is away.

One JSON object a line. A worker that dies, or whose supervisor died, needs no farewell: the pipe ends.
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
Event = Literal["busy", "beat", "delivering", "idle"]


class Vital(BaseModel):
    """One line of the pipe. `claim` comes with `busy`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event: Event
    claim: Claim | None = None


class Vitals:
    """The worker's end. Without a pipe it says nothing: a worker can run without a supervisor."""

    def __init__(self, pipe: int | None = None) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        if pipe is not None:
            os.set_inheritable(pipe, False)

    def busy(self, claim: Claim) -> None:
        self._say("busy", claim)

    def beat(self) -> None:
        """The job moves. A busy worker that does not beat is killed."""
        self._say("beat")

    def delivering(self) -> None:
        """The result is computed and waits to be stored: the limit on the run no longer holds."""
        self._say("delivering")

    def idle(self) -> None:
        self._say("idle")

    def _say(self, event: Event, claim: Claim | None = None) -> None:
        if self._pipe is None:
            return
        line = Vital(event=event, claim=claim).model_dump_json() + "\n"
        with self._lock, suppress(BrokenPipeError):
            os.write(self._pipe, line.encode())


class VitalsReader:
    """The supervisor's end; a context manager that owns the file descriptor."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._partial = b""
        self._ended = False
        os.set_blocking(pipe, False)

    def read(self, timeout_s: float) -> list[Vital]:
        """What has been said, after waiting for something at most `timeout_s`; empty when nothing was."""
        if self._ended:
            time.sleep(timeout_s)
            return []
        select.select([self._pipe], [], [], timeout_s)
        with suppress(BlockingIOError):
            while chunk := os.read(self._pipe, 65_536):
                self._partial += chunk
            self._ended = True
        *lines, self._partial = self._partial.split(b"\n")
        return [Vital.model_validate_json(line) for line in lines]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._pipe)
