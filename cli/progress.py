"""A progress bar on stderr; stdout stays clean."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


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
