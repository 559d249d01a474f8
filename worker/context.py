"""What a worker holds while it lives."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.pipeline import MatchResult, match
from jobs.objects import ObjectStore
from jobs.schema import ModelIdentity
from jobs.settings import JobSettings
from jobs.stores.job_store import JobStore
from worker.heartbeat import Presence
from worker.recycling import Wear
from worker.sequential_fallback import Transfer
from worker.shutdown import Drain
from worker.supervisor_pipe import Vitals

if TYPE_CHECKING:
    from checkpoints.load import LoadedModels
Match = Callable[..., MatchResult]
"""`core.pipeline.match`, or in tests a function with its signature."""


@dataclass(frozen=True, eq=False)
class Bench:
    worker_id: str
    settings: JobSettings
    store: JobStore
    objects: ObjectStore
    loaded: "LoadedModels"
    transfer: Transfer
    drain: Drain
    vitals: Vitals
    presence: Presence
    wear: Wear
    match: Match = match

    @property
    def identity(self) -> ModelIdentity:
        loaded = self.loaded
        return ModelIdentity(id=loaded.id, revision=loaded.revision, device=loaded.device, dtype=loaded.dtype)
