"""A worker with a tiny checkpoint in the test's own process, for what the API and a worker have to do together."""

from checkpoints.load import LoadedModels
from core.pipeline import transfer_variants
from jobs.settings import JobSettings
from tests.contract.http.conftest import Stack
from tests.tiny import tiny_models
from worker.context import WorkerContext
from worker.heartbeat import Heartbeat
from worker.recycling import RecyclingPolicy
from worker.shutdown import Shutdown
from worker.supervisor_pipe import SupervisorPipe


def make_context(stack: Stack, settings: JobSettings) -> WorkerContext:
    loaded = LoadedModels(tiny_models(), id="tiny", revision="1", device="cpu", dtype="float32")
    heartbeat = Heartbeat(stack.store, "w1", every_s=1.0)
    rest = (transfer_variants, Shutdown(10.0), SupervisorPipe(), heartbeat, RecyclingPolicy(1000, 4096))
    return WorkerContext("w1", settings, stack.store, stack.objects, loaded, *rest)
