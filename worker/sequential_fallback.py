"""Several seeds one after the other, for a device whose memory is too small for all of them at once."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from core.pipeline import OnStep, Preview, TransferResult

Transfer = Callable[..., list[TransferResult]]
"""`core.pipeline.transfer_variants`, or in tests a function with its signature."""


def transfer_sequentially(
    transfer: Transfer, *arguments: Any, seeds: Sequence[int], on_step: OnStep, **options: Any
) -> list[TransferResult]:
    """As `transfer`, with one seed at a time. `on_step` counts the steps of all runs; timings are sums over them."""
    results: list[TransferResult] = []
    timings: Counter[str] = Counter()
    for number, seed in enumerate(seeds):

        def counted(step: int, steps: int, preview: Preview, before: int = number) -> None:
            on_step(before * steps + step, len(seeds) * steps, preview)

        (result,) = transfer(*arguments, seeds=[seed], on_step=counted, **options)
        timings.update(result.timings)
        results.append(result)
    return [replace(result, timings=dict(timings)) for result in results]
