"""What a run evaluates, and by what it is known again when it goes on after a stop."""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from checkpoints.load import LoadedModels
from core.params.transfer import TransferParams
from lab.baselines.settings import Changes
from lab.pairs import PairSet
from lab.scenes import Domain

ROOT = Path(__file__).parents[2]


class ResultsOfAnotherRun(Exception):
    """The folder holds pairs that were computed with other weights, code, parameters or methods."""


@dataclass(frozen=True)
class Plan:
    """`pairs` pairs from `first_seed` on. Raises ValueError for fewer than one pair or method."""

    pairs: int
    first_seed: int
    methods: tuple[str, ...]
    kind: PairSet = PairSet.SAME
    params: TransferParams = field(default_factory=TransferParams)
    domain: Domain = Domain.EVALUATION
    overrides: Mapping[str, Changes] = field(default_factory=dict)
    """Single values of methods by name, such as a search found; see `lab.baselines.settings`."""
    matching: bool = True
    """Whether the correspondences are judged too."""

    def __post_init__(self) -> None:
        if self.pairs < 1 or not self.methods:
            raise ValueError("an evaluation needs a pair and a method at least")

    @property
    def seeds(self) -> range:
        """Pair seeds; each is also the seed of the sampler's draws for its pair."""
        return range(self.first_seed, self.first_seed + self.pairs)


def describe_run(plan: Plan, loaded: LoadedModels) -> dict[str, Any]:
    """Everything on which a pair's figures depend, except its seed."""
    return {
        **describe_weights(loaded),
        "size": loaded.models.native_resolution,
        "token_pitch_px": token_pitch_px(loaded),
        "set": str(plan.kind),
        "domain": str(plan.domain),
        "methods": list(plan.methods),
        "params": plan.params.resolved().model_dump(mode="json"),
        "overrides": json.loads(json.dumps(plan.overrides)),
        "matching": plan.matching,
    }


def describe_weights(loaded: LoadedModels) -> dict[str, Any]:
    """By what weights, code and machine."""
    return {
        "model": {"id": loaded.id, "revision": loaded.revision, "device": loaded.device, "dtype": loaded.dtype},
        "code": code_digest(),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }


def token_pitch_px(loaded: LoadedModels) -> int:
    """Side in pixels of a token of the UNet's finest self-attention."""
    models = loaded.models
    side = models.native_resolution // models.vae_factor
    return models.native_resolution // models.finest_grid((side, side))[0]


def code_digest() -> str:
    """SHA-256 over the sources that make and judge results, in hex."""
    digest = hashlib.sha256()
    for package in ("checkpoints", "core", "lab"):
        for path in sorted((ROOT / package).rglob("*.py")):
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def claim_folder(folder: Path, run: Mapping[str, Any]) -> None:
    """Makes the folder of a run's pairs, or finds it as this run left it. Raises ResultsOfAnotherRun."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.json"
    if not path.exists():
        path.write_text(json.dumps(run, indent=1))
        return
    there = json.loads(path.read_text())
    differing = sorted(key for key in there.keys() | run.keys() if there.get(key) != run.get(key))
    if differing:
        raise ResultsOfAnotherRun(f"{folder} holds pairs of a run with other {', '.join(differing)}; remove it first")
