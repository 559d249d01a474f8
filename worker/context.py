"""What every job of a worker process uses: its models, its stores, and its state."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.pipeline import MatchResult, match
from jobs.objects import ObjectStore
from jobs.schema import ModelIdentity
from jobs.settings import JobSettings
from jobs.stores.job_store import JobStore
from worker.content_check import ContentCheck
from worker.heartbeat import Heartbeat
from worker.recycling import RecyclingPolicy
from worker.sequential_fallback import Transfer
from worker.shutdown import Shutdown
from worker.supervisor_pipe import SupervisorPipe

if TYPE_CHECKING:
    from checkpoints.load import LoadedModels
Match = Callable[..., MatchResult]
"""`core.pipeline.match`, or in tests a function with its signature."""


@dataclass(frozen=True, eq=False)
class WorkerContext:
    """Made once, when the models are loaded; lives as long as the process."""

    worker_id: str
    settings: JobSettings
    store: JobStore
    objects: ObjectStore
    loaded: "LoadedModels"
    transfer: Transfer
    shutdown: Shutdown
    pipe: SupervisorPipe
    heartbeat: Heartbeat
    recycling: RecyclingPolicy
    match: Match = match
    content_check: ContentCheck | None = None

    @property
    def model_identity(self) -> ModelIdentity:
        """The checkpoint, its revision, its device and its precision, as results name them."""
        loaded = self.loaded
        return ModelIdentity(id=loaded.id, revision=loaded.revision, device=loaded.device, dtype=loaded.dtype)
