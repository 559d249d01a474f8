"""Time per phase, measured when the device has finished the work."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

Clock = Callable[[], float]
"""Seconds from any fixed point, monotonic."""


class Stopwatch:
    """`with stopwatch("sample"): ...` adds the milliseconds spent to `milliseconds["sample"]`."""

    def __init__(self, clock: Clock, device: torch.device) -> None:
        self._clock = clock
        self._device = device
        self.milliseconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        started = self._clock()
        try:
            yield
        finally:
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            self.milliseconds[phase] = round((self._clock() - started) * 1000.0, 3)
