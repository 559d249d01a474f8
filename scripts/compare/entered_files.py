"""Which files of `core` does one transfer enter? Those of the functions that are called, comprehensions and lambdas
among them; not what a dataclass or another library generates, and not what an import runs."""

import sys
import threading
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import click
from render import load_models, prepare
from transfers import Transfer

BIRD = Transfer("README's sample", "bird")


def files_entered(models: Any, transfer: Transfer) -> list[Path]:
    """Relative to the folder that `core` lies in."""
    entered: set[str] = set()

    def on_event(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_name != "<module>":
            entered.add(frame.f_code.co_filename)

    repaint = prepare(models, transfer)
    threading.setprofile(on_event)
    sys.setprofile(on_event)
    try:
        repaint()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    core = Path(str(import_module("core").__file__)).parent
    return sorted(Path(file).relative_to(core.parent) for file in entered if Path(file).is_relative_to(core))


@click.command()
def trace() -> None:
    """Print the files of core that one transfer enters, and their number."""
    entered = files_entered(load_models(), BIRD)
    for path in entered:
        click.echo(path)
    click.echo(f"{len(entered)} files")


if __name__ == "__main__":
    trace(prog_name="scripts/trace-files")
