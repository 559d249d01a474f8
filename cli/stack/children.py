"""Child processes that never outlive their parent, however it ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO

PARENT_VARIABLE = "PLUMAGE_PARENT_PID"
"""Id of the process with which a `plumage` command ends; read by `cli.__main__`."""


def spawn(
    arguments: Sequence[str], *, environment: Mapping[str, str], log: IO[bytes] | None, pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Starts `plumage ARGUMENTS` in a session of its own, so that Ctrl-C reaches the parent alone.

    What it prints goes to `log`, or to our stderr. Call it from the main thread: on Linux the child is killed when
    the thread that started it ends.
    """
    output = sys.stderr.fileno() if log is None else log.fileno()
    return subprocess.Popen(
        [sys.executable, "-m", "cli", *arguments],
        env={**os.environ, **environment, PARENT_VARIABLE: str(os.getpid())},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=pass_fds,
        start_new_session=True,
    )


def stop(children: Sequence[subprocess.Popen[bytes]], *, grace_s: float) -> None:
    """SIGTERM to all; after `grace_s` seconds SIGKILL to what is left, with everything that it started."""
    for child in children:
        child.terminate()
    deadline = time.monotonic() + grace_s
    for child in children:
        with suppress(subprocess.TimeoutExpired):
            child.wait(max(0.0, deadline - time.monotonic()))
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
