"""`plumage faults`: breaks a stack of its own in every way that the promise covers, and prints the figures."""

import os
import subprocess
import sys
from pathlib import Path

import click

from cli.errors import BadInput

CHECKOUT = Path(__file__).resolve().parents[2]


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def faults(arguments: tuple[str, ...]) -> None:
    """Kill, pause and starve everything, and see whether any job is lost; needs a checkout. [--full] [--list] [NAME]

    Starts its own Redis, workers and API, with a stand-in for the sampler.
    """
    if not (CHECKOUT / "tests" / "faults" / "__main__.py").is_file():
        raise BadInput(f"the scenarios are part of the repository, and {CHECKOUT} is no checkout of it")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PLUMAGE_")}
    done = subprocess.run([sys.executable, "-m", "tests.faults", *arguments], cwd=CHECKOUT, env=environment)
    raise SystemExit(done.returncode)
