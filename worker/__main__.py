"""`python -m worker --id ID [--pipe FD] [--parent PID]`: one worker process, as the supervisor starts it."""

import argparse
import sys
from typing import Any

from jobs.lifeline import die_with_parent


def main(**replacements: Any) -> int:
    """`replacements` take the place of arguments of `worker.process.run` in tests."""
    parser = argparse.ArgumentParser(prog="python -m worker")
    parser.add_argument("--id", required=True)
    parser.add_argument("--pipe", type=int, help="file descriptor of the supervisor's pipe")
    parser.add_argument("--parent", type=int, help="process id with which this one ends")
    options = parser.parse_args()
    if options.parent is not None:
        die_with_parent(options.parent)

    # After the bond to the parent, because loading torch takes seconds.
    from jobs.logs import configure_logs
    from jobs.settings import JobSettings
    from worker.process import run
    from worker.supervisor_pipe import SupervisorPipe

    configure_logs()
    return run(JobSettings(), options.id, SupervisorPipe(options.pipe), **replacements)


if __name__ == "__main__":
    sys.exit(main())
