"""Writing a result so that it is there whole or not at all.

Durations as people write them.

A progress bar on stderr; stdout stays clean.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from cli.errors import BadInput, Failed


def check_writable(path: Path, suffix: str = ".png") -> None:
    """Makes the folder of `path`. Raises BadInput when a file that ends in `suffix` cannot be put there."""
    if path.suffix.lower() != suffix:
        raise BadInput(f"{path}: the name of the result must end in {suffix}", "bad_output")
    if path.is_dir():
        raise BadInput(f"{path} is a folder", "bad_output")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot make the folder {path.parent}: {error.strerror}", "bad_output") from error
    if not os.access(path.parent, os.W_OK):
        raise BadInput(f"cannot write in {path.parent}", "bad_output")


def replace_file(path: Path, content: bytes) -> None:
    """Puts `content` at `path` in one step, over what was there. Raises Failed when the disk does not take it."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            file.write(content)
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    except OSError as error:
        raise Failed(f"cannot write {path}: {error.strerror}", "cannot_write") from error


UNITS_S = {"h": 3600, "d": 86_400}


def read_seconds(text: str) -> int:
    """`12h` or `90d`. Raises BadInput for anything else."""
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdecimal() and unit in UNITS_S):
        raise BadInput(f"{text!r} is no lifetime; 12h or 90d would be", "bad_lifetime")
    return int(number) * UNITS_S[unit]


class ProgressBar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def say(self, text: str) -> None:
        """What is going on, in front of the bar."""
        self._progress.update(self._task, description=text)

    def show(self, text: str, progress: Mapping[str, Any]) -> None:
        """`progress` has `step` and `steps`; `steps` is 0 while nobody knows."""
        total = progress["steps"] or None
        self._progress.update(self._task, description=text, completed=progress["step"], total=total)


@contextmanager
def progress_bar() -> Iterator[ProgressBar]:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False, redirect_stderr=False) as progress:
        yield ProgressBar(progress, progress.add_task("starting", total=None))
