"""The warm-up: the first run of a process is its slowest, so it happens before any job."""

import torch

from core.models.models import Models
from core.params.transfer import WARM_UP
from core.pipeline import TransferInputs, TransferResult, transfer


def warm_up(models: Models) -> TransferResult:
    """A real, short transfer at the checkpoint's own resolution, between two plain pictures.

    Raises what `transfer` raises: a worker whose warm-up fails must not report ready.
    """
    side = models.native_resolution
    ramp = torch.linspace(0.1, 0.9, side).expand(3, side, side)
    return transfer(models, TransferInputs(ramp, ramp.transpose(1, 2)), WARM_UP, seed=0)
