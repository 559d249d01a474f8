"""What every training loop needs to survive a kill: atomic state files, a loss log that resumes, a
learning-rate schedule."""

import csv
import math
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import torch

State = dict[str, Any]


def save_state(path: Path, state: State) -> None:
    """Writes a state file so that a kill at any moment leaves the old or the new one, never half of one."""
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(path)


def load_state(path: Path) -> State | None:
    """The state that `save_state` left, or None at a first start."""
    if not path.exists():
        return None
    state: State = torch.load(path, map_location="cpu", weights_only=True)
    return state


def learning_rate(step: int, steps: int, peak: float, warmup: int, floor: float = 0.05) -> float:
    """Linear warm-up, then half a cosine from `peak` to `floor * peak` at `steps`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    share = min(1.0, (step - warmup) / max(1, steps - warmup))
    return peak * (floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * share)))


class LossLog:
    """Appends running means to a CSV file; rows past `step` (from before a kill) are dropped at the start."""

    def __init__(self, path: Path, step: int, every: int) -> None:
        self._path = path
        self._every = every
        self._sums: dict[str, float] = {}
        self._count = 0
        self._started = time.monotonic()
        if path.exists():
            with path.open() as stream:
                rows = [row for row in csv.DictReader(stream) if int(row["step"]) <= step]
            path.unlink()
            self._write(rows)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Takes one step's values; writes a row at every `every`-th step."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        if step % self._every == 0:
            means = {name: f"{total / self._count:.5f}" for name, total in self._sums.items()}
            seconds = time.monotonic() - self._started
            self._write([{"step": str(step), "seconds": f"{seconds:.0f}", **means}])
            self._sums, self._count = {}, 0

    def _write(self, rows: list[dict[str, str]]) -> None:
        if not rows:
            return
        fresh = not self._path.exists()
        with self._path.open("a", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            if fresh:
                writer.writeheader()
            writer.writerows(rows)


class Budget:
    """How much of a run is done, 0..1: by steps, or by the clock where an end is given.

    A run by steps repeats exactly; a run by the clock uses the time there is, whatever else the machine does.
    """

    def __init__(self, steps: int, ends_at: float | None, started_at: float) -> None:
        self._steps = steps
        self._ends_at = ends_at
        self.started_at = started_at

    def share(self, step: int) -> float:
        """The share that is done after `step` steps."""
        by_steps = step / self._steps
        if self._ends_at is None:
            return min(1.0, by_steps)
        by_clock = (time.time() - self.started_at) / max(1.0, self._ends_at - self.started_at)
        return min(1.0, max(by_steps, by_clock))


def next_time(clock: str) -> float:
    """The next moment, in seconds since 1970, at which it is `HH:MM` in UTC."""
    now = datetime.now(UTC)
    hour, minute = (int(piece) for piece in clock.split(":"))
    moment = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return (moment if moment > now else moment + timedelta(days=1)).timestamp()
