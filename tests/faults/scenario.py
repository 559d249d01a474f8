"""A scenario breaks something on purpose, checks the promise, and returns figures of what happened."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.promise import Figures

Size = Mapping[str, float]
SCENARIOS: list["Scenario"] = []


class Unavailable(Exception):
    """This machine lacks what the scenario needs; the message names it."""


@dataclass(frozen=True)
class Scenario:
    """`run(folder, **size)` starts and stops everything itself and raises AssertionError when the promise is broken."""

    name: str
    fault: str
    run: Callable[..., Figures]
    short: Size
    full: Sequence[Size]


def scenario(*, fault: str, short: Size, full: Sequence[Size]) -> Callable[[Callable[..., Figures]], Any]:
    """Registers a function of a folder and its sizes. One line on `fault`; `full` has a size for each long run."""

    def register(run: Callable[..., Figures]) -> Callable[..., Figures]:
        SCENARIOS.append(Scenario(run.__name__, fault, run, short, full))
        return run

    return register


def run_in(folder: Path, chosen: Scenario, size: Size) -> Figures:
    """Raises AssertionError and Unavailable."""
    folder.mkdir(parents=True)
    return chosen.run(folder, **size)


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that at least `percent` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
