"""What a failing device means for the process."""

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
    """Gives back what the allocator keeps. Call it when no exception holds tensors by its traceback any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def end_process(status: int) -> NoReturn:
    """At once: destructors of a lost device hang or raise, and RQ would take any exception for the job's end."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
