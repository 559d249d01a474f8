"""Processes that die with their parent, also when the parent is killed with `kill -9`.

On Linux the kernel does it (`PR_SET_PDEATHSIG`), as soon as the *thread* that started the process ends:
start such children from a thread that lives as long as they shall. Elsewhere a thread of the child watches
its parent.

Here because processes of the service and of the workers need it, and neither imports the other.
Run as a script, this file becomes another program, `lifeline.py PARENT_PID PROGRAM [ARG …]`; on Linux the
bond survives `exec`. It stands alone, so that it starts in a few milliseconds.
"""

import ctypes
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
_WATCH_EVERY_S = 0.5


def die_with_parent(parent_pid: int) -> None:
    """Ends this process with SIGKILL when the process `parent_pid`, its parent, ends or has ended already."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    else:
        threading.Thread(target=_watch, args=(parent_pid,), name="lifeline", daemon=True).start()
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def _watch(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(_WATCH_EVERY_S)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
