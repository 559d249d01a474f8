"""`python -m worker --id ID [--vitals FD] [--parent PID]`: one worker process, as the supervisor starts it."""

import argparse
import sys
from typing import Any

from jobs.lifeline import die_with_parent


def main(**stand_ins: Any) -> int:
    """`stand_ins` replace arguments of `worker.process.run` in tests."""
    parser = argparse.ArgumentParser(prog="python -m worker")
    parser.add_argument("--id", required=True)
    parser.add_argument("--vitals", type=int)
    parser.add_argument("--parent", type=int)
    options = parser.parse_args()
    if options.parent is not None:
        die_with_parent(options.parent)

    # After the bond to the parent, because loading torch takes seconds.
    from jobs.logs import configure_logs
    from jobs.settings import JobSettings
    from worker.process import run
    from worker.supervisor_pipe import Vitals

    configure_logs()
    return run(JobSettings(), options.id, Vitals(options.vitals), **stand_ins)


if __name__ == "__main__":
    sys.exit(main())
