"""What an error means for the device."""

import torch

from worker.device import is_lost, is_out_of_memory


def accelerator_error(code: int) -> torch.AcceleratorError:
    error = torch.AcceleratorError("CUDA error")
    setattr(error, "error_code", code)  # noqa: B010 - torch sets it, and its annotations do not know it
    return error


def test_an_error_of_the_accelerator_loses_the_device_also_as_a_cause() -> None:
    assert is_lost(accelerator_error(710))
    wrapped = ValueError("what came of it")
    wrapped.__cause__ = accelerator_error(700)
    assert is_lost(wrapped)
    assert not is_lost(RuntimeError("a matrix of the wrong shape"))


def test_too_little_memory_loses_nothing_whatever_it_is_called() -> None:
    for error in (accelerator_error(2), torch.OutOfMemoryError("CUDA out of memory")):
        assert is_out_of_memory(error)
        assert not is_lost(error)
