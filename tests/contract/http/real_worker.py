"""A worker with a tiny checkpoint in the test's own process, for what the API and a worker have to do together."""

from checkpoints.load import LoadedModels
from core.pipeline import transfer_variants
from jobs.settings import JobSettings
from tests.contract.http.conftest import Stack
from tests.tiny import tiny_models
from worker.context import Bench
from worker.heartbeat import Presence
from worker.recycling import Wear
from worker.shutdown import Drain
from worker.supervisor_pipe import Vitals


def make_bench(stack: Stack, settings: JobSettings) -> Bench:
    loaded = LoadedModels(tiny_models(), id="tiny", revision="1", device="cpu", dtype="float32")
    presence = Presence(stack.store, "w1", every_s=1.0)
    rest = (transfer_variants, Drain(10.0), Vitals(), presence, Wear(1000, 4096))
    return Bench("w1", settings, stack.store, stack.objects, loaded, *rest)
