"""Stands in for `core.pipeline`: sleeps instead of sampling, and fails on demand.

The job's prompt gives as JSON what a run does:
    steps, pause_s    so many steps of that length
    kill_at           `kill -9` of its own process before this step
    hang_at           native code that blocks the whole interpreter, before this step
    error             message of an exception instead of a result
    lose_device       path of a file: the run that creates it meets an error of CUDA that no process survives
    leak_mb           so much memory is kept after the run
    gate              path of a file: the run waits before its last step until the file exists
    finish            path of a file: the run waits after its last step until the file exists
    log               path of a file: each run appends its process id when it starts
"""

import ctypes
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

LEAKED: list[bytes] = []


@dataclass(frozen=True)
class Masks:
    target: Tensor | None = None
    reference: Tensor | None = None


@dataclass(frozen=True)
class TransferInputs:
    target: Tensor
    reference: Tensor
    masks: Any
    named: Any
    prompt: str
    negative_prompt: str


@dataclass(frozen=True)
class Matches:
    positions: Tensor
    similarity: Tensor
    inside: Tensor
    confidence: Tensor
    region: Tensor


@dataclass(frozen=True)
class TransferResult:
    image: Tensor
    seed: int
    timings: dict[str, float]
    matches: Matches
    masks: Masks = Masks()
    references: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class MatchResult:
    seed: int
    timings: dict[str, float]
    matches: Matches
    masks: Masks = Masks()
    references: tuple[Tensor, ...] = ()


Preview = Callable[[], Tensor]
OnStep = Callable[[int, int, Preview], None]


def _asked(prompt: str) -> dict[str, Any]:
    """Of a prompt that means a picture: nothing."""
    try:
        found = json.loads(prompt)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def transfer_variants(
    models: Any, inputs: TransferInputs, params: Any, *, seeds: Sequence[int], on_step: Any
) -> list[TransferResult]:
    """The target itself for every seed, after as many steps as the prompt asks for."""
    behaviour: dict[str, Any] = {"steps": 2, "pause_s": 0.01, **_asked(inputs.prompt)}
    if "log" in behaviour:
        with Path(behaviour["log"]).open("a") as file:
            file.write(f"{os.getpid()}\n")
    small = torch.zeros(8, 8, 3, dtype=torch.uint8)
    steps = behaviour["steps"]
    for step in range(1, steps + 1):
        if step == behaviour.get("kill_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if step == behaviour.get("hang_at"):
            ctypes.PyDLL(None).sleep(3600)
        while step == steps and "gate" in behaviour and not Path(behaviour["gate"]).exists():
            time.sleep(0.02)
        time.sleep(behaviour["pause_s"])
        on_step(step, steps, lambda: small)
    while "finish" in behaviour and not Path(behaviour["finish"]).exists():
        time.sleep(0.02)
    if "lose_device" in behaviour and not Path(behaviour["lose_device"]).exists():
        Path(behaviour["lose_device"]).touch()
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")
    LEAKED.append(b"x" * (behaviour.get("leak_mb", 0) * 2**20))
    if "error" in behaviour:
        raise RuntimeError(behaviour["error"])
    image = inputs.target.permute(1, 2, 0)
    return [TransferResult(image, seed, {"sample": 1.0}, _matches()) for seed in seeds]


def match(models: Any, inputs: TransferInputs, params: Any, *, seed: int) -> MatchResult:
    """A tiny map; fails like `transfer`."""
    behaviour = _asked(inputs.prompt)
    if "error" in behaviour:
        raise RuntimeError(behaviour["error"])
    return MatchResult(seed, {"correspond": 1.0}, _matches())


def _matches() -> Matches:
    whole = torch.ones(2, 2)
    return Matches(torch.zeros(2, 2, 2), whole, whole.bool(), whole, torch.zeros(2, 2, dtype=torch.long))
