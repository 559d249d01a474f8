"""RQ's part in a worker: waiting for tickets, and refusing everything else that is in the queue.

RQ runs whatever importable name a queue entry contains, with either serializer. Here a name is a key into a table of
functions and is never imported, and no other field of an entry (callbacks, webhooks, results, retries) is read.
"""

import json
import signal
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import structlog
from redis import Redis
from redis.exceptions import RedisError
from rq import SimpleWorker
from rq.exceptions import NoSuchJobError, StopRequested
from rq.job import Job
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.timeouts import TimerDeathPenalty
from rq.worker import WorkerStatus

from jobs.stores.ticket_queue import FAILED_TICKET_TTL_S
from worker.shutdown import Shutdown

Tasks = Mapping[str, Callable[[], None]]
OnSignal = Callable[[int, FrameType | None], None]
# RQ waits for a ticket for `WORKER_TTL_S - 15` seconds at a time, and does its own upkeep between two waits.
WORKER_TTL_S = 20
MAINTENANCE_EVERY_S = 30
_LONGEST_TICKET = 1024
_REFUSED = "refused"
log = structlog.get_logger()


def make_worker(redis: Redis, queue_name: str, tasks: Tasks, shutdown: Shutdown) -> "TicketWorker":
    """A worker that runs `tasks` by name. `redis` becomes its own: RQ sets its timeouts. Raises redis errors."""
    ticket = ticket_class(queue_name, tasks)
    queue = Queue(queue_name, connection=redis, job_class=ticket, serializer=JSONSerializer)
    worker = TicketWorker(
        [queue],
        connection=redis,
        job_class=ticket,
        serializer=JSONSerializer,
        default_result_ttl=0,
        worker_ttl=WORKER_TTL_S,
        maintenance_interval=MAINTENANCE_EVERY_S,
        log_job_description=False,
    )
    worker.shutdown = shutdown
    return worker


def ticket_class(queue_name: str, tasks: Tasks) -> type[Job]:
    """A class of RQ jobs that can only be one of `tasks`."""

    class Ticket(Job):
        task_name: str | None = None

        def restore(self, raw_data: dict[bytes, bytes]) -> None:
            if b"data" not in raw_data:
                raise NoSuchJobError(f"Not a ticket: {self.id}")
            self.task_name = ticket_name(raw_data[b"data"])
            name = self.task_name if self.task_name in tasks else _REFUSED
            data = zlib.compress(json.dumps([name, None, [], {}]).encode())
            super().restore({b"data": data, b"origin": queue_name.encode()})
            self.timeout = -1
            self.result_ttl = 0
            self.failure_ttl = FAILED_TICKET_TTL_S

        def _execute(self) -> None:
            task = tasks.get(self.task_name or "")
            if task is None:
                log.error("ticket.refused", ticket=self.id, named=(self.task_name or "")[:200])
            else:
                task()

    return Ticket


def ticket_name(data: bytes) -> str | None:
    """The task that an entry's data names, if it has a ticket's shape: no instance, no arguments."""
    try:
        text = zlib.decompressobj().decompress(data, _LONGEST_TICKET)
        name, instance, args, kwargs = json.loads(text)
    except (zlib.error, ValueError, TypeError, RecursionError):
        return None
    return name if isinstance(name, str) and instance is None and not args and not kwargs else None


@contextmanager
def stop_signals(handler: OnSignal) -> Iterator[None]:
    """Inside, SIGINT and SIGTERM go to `handler`. Main thread only."""
    before = [(number, signal.signal(number, handler)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, previous in before:
            signal.signal(number, previous)


class TicketWorker(SimpleWorker):
    """Runs tickets in this process, which has the loaded models. Stops by `shutdown`, not by RQ's commands."""

    shutdown: Shutdown
    # RQ's alarm signal cannot break native code; `on_step` and the supervisor enforce the limits.
    death_penalty_class = TimerDeathPenalty
    max_connection_wait_time = 1.0

    def work(self, *args: Any, **kwargs: Any) -> bool:
        with stop_signals(self.request_stop):
            return super().work(*args, **kwargs)

    def _install_signal_handlers(self) -> None:
        """RQ would leave its handlers in place after its loop; `work` restores the earlier ones."""

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        self.shutdown.request()
        self._stop_requested = True
        if self.get_state() != WorkerStatus.BUSY:
            raise StopRequested

    def execute_job(self, job: Job, queue: Queue) -> None:
        super().execute_job(job, queue)
        if self.shutdown.requested:
            self._stop_requested = True  # leaves the next ticket to another worker

    def subscribe(self) -> None:
        """No command channel: a cancel is in the record, and a stop is a signal."""

    def _set_ip_address(self, connection: Redis) -> None:
        """RQ would ask for all clients of the server, which a worker's user may not."""
        self.ip_address = "unknown"

    def procline(self, message: str) -> None:
        """The process keeps its name."""

    def teardown(self) -> None:
        try:
            super().teardown()  # type: ignore[no-untyped-call]
        except RedisError:
            log.warning("worker.unregistered", reason="redis away")

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        log.error("ticket.error", ticket=job.id, exc_info=exc_info)
