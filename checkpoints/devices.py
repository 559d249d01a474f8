"""The device and the precision of the networks."""

import torch

from checkpoints.errors import DeviceUnavailable

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def choose_device(name: str) -> torch.device:
    """The device called `name`; `auto` takes CUDA, then MPS, then the CPU. Raises DeviceUnavailable."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceUnavailable(f"PLUMAGE_DEVICE={name}: {str(error).splitlines()[0]}") from error
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The precision called `name`; `auto` is the one that suits the device. Raises DeviceUnavailable."""
    if name != "auto":
        if name == "float16" and device.type == "cpu":
            raise DeviceUnavailable("PLUMAGE_DTYPE=float16 is not supported on a CPU; take float32 or bfloat16")
        return DTYPES[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float16 if device.type == "mps" else torch.float32
