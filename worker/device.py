"""Errors of the device: which of them a smaller run avoids, and which only a new process mends."""

import gc
import os
import sys
from typing import NoReturn

import torch

_CUDA_ERROR_MEMORY_ALLOCATION = 2


def is_out_of_memory(error: BaseException) -> bool:
    """The device's memory was too small: another, smaller run may fit."""
    if isinstance(error, torch.AcceleratorError):
        return getattr(error, "error_code", None) == _CUDA_ERROR_MEMORY_ALLOCATION
    return isinstance(error, torch.OutOfMemoryError)


def is_lost(error: BaseException | None) -> bool:
    """After an illegal access, a failed assertion or an uncorrectable memory error CUDA refuses every further call of
    the process: nothing but a new process helps. Errors that such an error led to count."""
    while error is not None:
        if isinstance(error, torch.AcceleratorError) and not is_out_of_memory(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def free_memory() -> None:
    """Returns the allocator's unused memory to the device. Call it when no traceback refers to tensors any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def end_process(status: int) -> NoReturn:
    """At once: destructors of a lost device hang or raise, and RQ would take any exception for the end of the job."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
