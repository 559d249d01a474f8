"""What an error says about the device."""

import torch

from worker.device import is_lost, is_out_of_memory
from worker.recycling import Wear


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


def test_a_process_is_worn_by_jobs_and_by_memory_that_runs_out_twice() -> None:
    wear = Wear(max_jobs=2, max_growth_mb=10_000)
    wear.job_over()
    wear.out_of_memory()
    assert not wear.reason
    wear.job_over()
    reasons = [wear.reason]
    wear.out_of_memory()
    reasons.append(wear.reason)
    assert reasons == ["2 jobs served", "out of memory again"]
