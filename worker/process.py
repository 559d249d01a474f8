"""The worker process: load the models once, warm them up, then serve tickets until told to stop."""

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import structlog
import torch
from redis import Redis
from redis.exceptions import RedisError
from rq.exceptions import StopRequested

from checkpoints.errors import CheckpointError
from checkpoints.settings import ModelSettings
from core.pipeline import transfer_variants
from jobs.objects import ObjectStore
from jobs.schema import WorkerState
from jobs.settings import JobSettings
from jobs.stores.connection import connect_redis
from jobs.stores.job_store import JobStore
from jobs.stores.ticket_queue import TASK_NAME
from worker.context import Bench
from worker.heartbeat import Presence
from worker.recycling import Wear
from worker.rq_worker import make_worker, stop_signals
from worker.sequential_fallback import Transfer
from worker.shutdown import Drain
from worker.supervisor_pipe import EX_CONFIG, EX_RETIRED, Vitals
from worker.tasks import run_next

_REJOIN_PAUSE_S = 0.5

if TYPE_CHECKING:
    from checkpoints.load import LoadedModels

log = structlog.get_logger()


def load_warm() -> "LoadedModels":
    """Reads ModelSettings from the environment. Raises CheckpointError, and what the warm-up transfer raises."""
    # Diffusers takes seconds to import, which a worker without a checkpoint of its own need not spend.
    from checkpoints.load import load
    from worker.warm import warm_up

    settings = ModelSettings()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    loaded = load(settings)
    warm_up(loaded.models)
    return loaded


def run(
    settings: JobSettings,
    worker_id: str,
    vitals: Vitals,
    *,
    load_models: Callable[[], "LoadedModels"] = load_warm,
    transfer: Transfer = transfer_variants,
) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit status."""
    assert settings.redis_url is not None
    drain = Drain(settings.drain_s)
    store = JobStore(connect_redis(settings.redis_url), settings)
    with Presence(store, worker_id, every_s=settings.lease_s / 2) as presence:
        began = time.perf_counter()
        try:
            loaded = load_models()
        except CheckpointError as error:
            log.error("worker.unusable", reason=str(error))
            presence.say(WorkerState.STARTING, f"the model cannot be used: {error}")
            return EX_CONFIG
        objects = ObjectStore.from_settings(settings)
        wear = Wear(settings.max_jobs_per_worker, settings.max_growth_mb)
        bench = Bench(worker_id, settings, store, objects, loaded, transfer, drain, vitals, presence, wear)
        presence.ready(bench.identity, loaded.held)
        log.info("worker.ready", seconds=round(time.perf_counter() - began, 1), **bench.identity.model_dump())
        serve(bench, settings.redis_url)
        presence.say(WorkerState.STOPPING)
    log.info("worker.stopped", retired=drain.retired)
    return EX_RETIRED if drain.retired else 0


def serve(bench: Bench, redis_url: str) -> None:
    """RQ's loop ends when Redis goes away; the models stay, and the loop is entered again."""
    tasks = {TASK_NAME: partial(run_next, bench)}
    with stop_signals(lambda *_: bench.drain.request()):
        while not bench.drain.requested:
            try:
                worker = make_worker(Redis.from_url(redis_url), bench.settings.prefix, tasks, bench.drain)
                worker.work(logging_level="WARNING")
            except StopRequested:
                return
            except (RedisError, OSError) as error:
                log.warning("worker.redis_away", reason=type(error).__name__)
            if not bench.drain.requested:
                time.sleep(_REJOIN_PAUSE_S)
