"""`plumage worker`: the supervisor and its worker process."""

import click

from cli.errors import Failed
from cli.settings import setting_errors
from jobs.errors import StoreUnavailable
from jobs.schema import WorkerState
from jobs.settings import JobSettings
from jobs.stores.connection import connect_redis
from jobs.stores.job_store import JobStore
from worker import supervisor
from worker.identity import host_prefix


@click.command()
@click.option("--check", is_flag=True, help="Exit 0 when this machine's worker is warm, else 1, and say why.")
def worker(check: bool) -> None:
    """Run a worker on this machine's device, restarted whenever it dies.

    Redis and the object store come from PLUMAGE_REDIS_URL and PLUMAGE_OBJECTS_URL, the weights from PLUMAGE_MODEL.
    """
    with setting_errors():
        settings = JobSettings()
        if settings.redis_url is None:
            raise ValueError("PLUMAGE_REDIS_URL is not set; `plumage up` starts a Redis of its own")
    if check:
        check_worker(settings.redis_url, settings)
        return
    with setting_errors():
        status = supervisor.main(settings)
    raise SystemExit(status)


def check_worker(redis_url: str, settings: JobSettings) -> None:
    """Raises Failed unless a worker started on this host is warm."""
    try:
        everywhere = JobStore(connect_redis(redis_url), settings).workers()
    except StoreUnavailable as error:
        raise Failed(str(error), error.code) from error
    here = [worker for worker in everywhere if worker.worker_id.startswith(host_prefix())]
    if not any(worker.state in (WorkerState.READY, WorkerState.BUSY) for worker in here):
        states = ", ".join(f"{worker.state}: {worker.detail}" for worker in here)
        raise Failed(f"no warm worker on this host ({states or 'none has announced itself'})", "not_ready")
    click.echo("warm", err=True)
