"""The worker process: loads the models once, warms them up, then runs tickets until a stop signal."""

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
from worker.content_check import ContentCheckUnusable, load_content_check
from worker.context import WorkerContext
from worker.heartbeat import Heartbeat
from worker.recycling import RecyclingPolicy
from worker.rq_worker import make_worker, stop_signals
from worker.sequential_fallback import Transfer
from worker.shutdown import Shutdown
from worker.supervisor_pipe import EX_CONFIG, EX_RETIRED, SupervisorPipe
from worker.tasks import run_next

if TYPE_CHECKING:
    from checkpoints.load import LoadedModels

_REJOIN_PAUSE_S = 0.5

log = structlog.get_logger()


def load_and_warm_up() -> "LoadedModels":
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
    pipe: SupervisorPipe,
    *,
    load_models: Callable[[], "LoadedModels"] = load_and_warm_up,
    transfer: Transfer = transfer_variants,
) -> int:
    """Runs jobs until SIGTERM or SIGINT, or until the process is due for replacement; returns the exit status."""
    assert settings.redis_url is not None
    shutdown = Shutdown(settings.drain_s)
    store = JobStore(connect_redis(settings.redis_url), settings)
    with Heartbeat(store, worker_id, every_s=settings.lease_s / 2) as heartbeat:
        began = time.perf_counter()
        try:
            content_check = load_content_check(settings.content_check)
        except ContentCheckUnusable as error:
            log.error("worker.unusable", reason=str(error))
            heartbeat.report(WorkerState.STARTING, "the content check cannot be used; the worker's log tells why")
            return EX_CONFIG
        try:
            loaded = load_models()
        except CheckpointError as error:
            log.error("worker.unusable", reason=str(error))
            heartbeat.report(WorkerState.STARTING, f"the model cannot be used: {error}")
            return EX_CONFIG
        context = WorkerContext(
            worker_id=worker_id,
            settings=settings,
            store=store,
            objects=ObjectStore.from_settings(settings),
            loaded=loaded,
            transfer=transfer,
            shutdown=shutdown,
            pipe=pipe,
            heartbeat=heartbeat,
            recycling=RecyclingPolicy(settings.max_jobs_per_worker, settings.max_growth_mb),
            content_check=content_check,
        )
        heartbeat.report_ready(context.model_identity, loaded.optional_models)
        log.info("worker.ready", seconds=round(time.perf_counter() - began, 1), **context.model_identity.model_dump())
        run_tickets(context, settings.redis_url)
        heartbeat.report(WorkerState.STOPPING)
    log.info("worker.stopped", retired=shutdown.retired)
    return EX_RETIRED if shutdown.retired else 0


def run_tickets(context: WorkerContext, redis_url: str) -> None:
    """RQ's loop ends when Redis goes away; the models stay loaded, and the loop is entered again."""
    tasks = {TASK_NAME: partial(run_next, context)}
    shutdown = context.shutdown
    with stop_signals(lambda *_: shutdown.request()):
        while not shutdown.requested:
            try:
                worker = make_worker(Redis.from_url(redis_url), context.settings.prefix, tasks, shutdown)
                worker.work(logging_level="WARNING")
            except StopRequested:
                return
            except (RedisError, OSError) as error:
                log.warning("worker.redis_away", reason=type(error).__name__)
            if not shutdown.requested:
                time.sleep(_REJOIN_PAUSE_S)
