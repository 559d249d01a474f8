"""The response to a dry run: a submission that would be accepted."""

from jobs.inputs import InputSize
from service.schemas.base import ResponseModel
from service.schemas.job import EffectiveOutput, EffectiveParams


class Estimate(ResponseModel):
    """What is to be expected now. It promises nothing."""

    queue_position: int
    """1: would be next in line."""
    start_s: float | None
    """Seconds until a worker would take it. Null while no worker is warm, or as long as `run_s` is null."""
    run_s: float | None
    """Seconds that it would run: what your latest jobs of this kind took for a picture, whatever their parameters (the
    median), times its pictures. Null when there are none."""


class DryRun(ResponseModel):
    """A submission that would be accepted."""

    params: EffectiveParams
    output: EffectiveOutput | None
    """Null where nothing is painted."""
    width: int
    """Of the target, and so of the result, in pixels."""
    height: int
    inputs: dict[str, InputSize]
    """Sizes of the input pictures, by part."""
    pictures: int
    """How many it would make: one for each seed."""
    estimate: Estimate
