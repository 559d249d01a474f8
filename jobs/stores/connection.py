"""Connections to Redis, and the translation of its failures.

Timeouts are short: a caller must learn within two seconds that Redis is away.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import (
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry

from jobs.errors import StoreUnavailable

CONNECT_TIMEOUT_S = 0.5
SOCKET_TIMEOUT_S = 0.9
# Answers of a server that runs but cannot serve now; anything else in a ResponseError is a fault of ours.
_PASSING = ("MISCONF", "MASTERDOWN", "NOREPLICAS", "LOADING", "BUSY", "OOM", "READONLY")


def connect_redis(url: str) -> Redis:
    """A lazy client: nothing is sent before the first command. A command fails within 2 s.

    It is tried again after a lost connection and not after a timeout, because redis-py nests these tries:
    those of the command around those of the handshake.
    """
    return Redis.from_url(
        url,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=SOCKET_TIMEOUT_S,
        retry=Retry(ConstantBackoff(0.05), retries=1, supported_errors=(ConnectionError,)),
        health_check_interval=15,
    )


@contextmanager
def redis_errors() -> Iterator[None]:
    """Raises StoreUnavailable in place of the errors that mean Redis cannot serve now."""
    try:
        yield
    except (ConnectionError, TimeoutError, ReadOnlyError, OutOfMemoryError) as error:
        raise StoreUnavailable("The job store does not answer.") from error
    except ResponseError as error:
        if any(word in str(error) for word in _PASSING):
            raise StoreUnavailable("The job store cannot serve now.") from error
        raise
    except RedisError as error:
        raise StoreUnavailable("The job store does not answer.") from error
