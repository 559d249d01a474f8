"""RQ wakes the workers: a ticket in its queue means that some job waits, and names none.

Which job that is, is decided by the claim script. So a lost ticket delays a job until the reaper
issues another, and a ticket too many finds nothing to do.
"""

import structlog
from redis import Redis
from rq import Queue
from rq.queue import EnqueueData
from rq.serializers import JSONSerializer

from jobs.errors import StoreUnavailable
from jobs.stores.connection import redis_errors

TASK_NAME = "worker.tasks.run_next"
TICKET_TTL_S = 86_400
FAILED_TICKET_TTL_S = 60
_BATCH = 100
log = structlog.get_logger()


class TicketQueue:
    def __init__(self, redis: Redis, name: str) -> None:
        self._queue = Queue(name, connection=redis, serializer=JSONSerializer)

    @property
    def key(self) -> str:
        """Redis list in which the tickets wait."""
        return str(self._queue.key)

    def issue(self, count: int = 1) -> None:
        """Raises StoreUnavailable."""
        with redis_errors():
            for start in range(0, count, _BATCH):
                tickets = [self._ticket() for _ in range(min(_BATCH, count - start))]
                self._queue.enqueue_many(tickets)

    def wake_workers(self, count: int = 1) -> None:
        """As `issue`, when it is no harm if Redis cannot serve: the jobs then wait for the reaper's next round."""
        try:
            self.issue(count)
        except StoreUnavailable:
            log.warning("ticket.missed")

    @staticmethod
    def _ticket() -> EnqueueData:
        return Queue.prepare_data(
            TASK_NAME,
            timeout=-1,
            result_ttl=0,
            failure_ttl=FAILED_TICKET_TTL_S,
            ttl=TICKET_TTL_S,
            description="ticket",
        )
