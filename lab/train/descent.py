"""One step of a training, and its state: what every loop here does with weights, their moving average and optimiser."""

import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Module

from lab.train.progress import load_state, save_state


def descend(loss: Tensor, modules: Module, optimizer: torch.optim.Optimizer, rate: float) -> None:
    """One optimiser step at that rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
    optimizer.step()


@torch.no_grad()
def follow(averaged: Module, modules: Module, step: int, decay: float) -> None:
    """Moves the average towards the weights; it remembers `decay` of itself, and less in early steps."""
    decay = min(decay, (1.0 + step) / (10.0 + step))
    torch._foreach_lerp_(list(averaged.parameters()), list(modules.parameters()), 1.0 - decay)


def restore(path: Path, modules: Module, averaged: Module, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    """Loads weights, average and optimiser where a state exists; returns the step and when the run began."""
    state = load_state(path)
    if state is None:
        return 0, time.time()
    modules.load_state_dict(state["model"])
    averaged.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"]), float(state["started_at"])


def save(
    path: Path,
    modules: Module,
    averaged: Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    started_at: float,
) -> None:
    """Writes everything that `restore` reads."""
    state = {
        "model": modules.state_dict(),
        "average": averaged.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "started_at": started_at,
    }
    save_state(path, state)
