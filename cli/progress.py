"""A progress bar on stderr; stdout is for results. Apart from `cli.output`, as the API's image has no rich."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class ProgressBar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def describe(self, text: str) -> None:
        """Puts `text` in front of the bar, which stays where it is."""
        self._progress.update(self._task, description=text)

    def show(self, text: str, step: int, steps: int) -> None:
        """Moves the bar to `step` of `steps`; `steps` is 0 while nobody knows how many there are."""
        self._progress.update(self._task, description=text, completed=step, total=steps or None)


@contextmanager
def progress_bar() -> Iterator[ProgressBar]:
    """A bar that is there until the block is left."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False, redirect_stderr=False) as progress:
        yield ProgressBar(progress, progress.add_task("starting", total=None))
