"""The warm-up: the first run of a process is its slowest, so it happens before any job."""

import torch

from core.models.models import Models
from core.params.transfer import TransferParams
from core.pipeline import TransferResult, transfer


def warm_up(models: Models) -> TransferResult:
    """A real transfer of two steps at the checkpoint's own resolution, between two plain pictures.

    Raises what `transfer` raises: a worker whose warm-up fails must not report ready.
    """
    side = models.native_resolution
    ramp = torch.linspace(0.1, 0.9, side).expand(3, side, side)
    return transfer(models, ramp, ramp.transpose(1, 2), TransferParams(num_steps=2, strength=1.0), seed=0)
