"""Several seeds one after the other, for a device whose memory does not hold them at once."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from core.pipeline import OnStep, Preview, TransferResult

Transfer = Callable[..., list[TransferResult]]
"""`core.pipeline.transfer_variants`, or in tests a function with its signature."""


def one_by_one(
    transfer: Transfer, *given: Any, seeds: Sequence[int], on_step: OnStep, **named: Any
) -> list[TransferResult]:
    """As `transfer`. The steps of all runs are counted together, and so are their timings."""
    results: list[TransferResult] = []
    timings: Counter[str] = Counter()
    for number, seed in enumerate(seeds):

        def counted(step: int, steps: int, preview: Preview, before: int = number) -> None:
            on_step(before * steps + step, len(seeds) * steps, preview)

        (result,) = transfer(*given, seeds=[seed], on_step=counted, **named)
        timings.update(result.timings)
        results.append(result)
    return [replace(result, timings=dict(timings)) for result in results]
