"""How many requests a key may make, counted in Redis, so that all processes of the API share the count."""

import math
import time
from typing import NamedTuple

from limits import parse
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis import Redis

from jobs.connect import redis_errors


class Standing(NamedTuple):
    """Where a key stands after a request."""

    allowed: bool
    limit: int
    window_s: int
    remaining: int
    reset_s: int
    """Until the count falls."""

    @property
    def headers(self) -> dict[str, str]:
        """As in the IETF draft on RateLimit header fields."""
        return {
            "RateLimit-Policy": f'"key";q={self.limit};w={self.window_s}',
            "RateLimit": f'"key";r={self.remaining};t={self.reset_s}',
        }


class Rates:
    def __init__(self, redis: Redis, prefix: str, rate: str) -> None:
        """`rate` is like `600/minute`. Sends nothing yet. Raises ValueError for what is no rate."""
        storage = RedisStorage("redis://", connection_pool=redis.connection_pool, key_prefix=f"{prefix}:rate")
        self._window = SlidingWindowCounterRateLimiter(storage)
        self._rate = parse(rate)

    def count(self, key_id: str) -> Standing:
        """Raises StoreUnavailable."""
        with redis_errors():
            allowed = self._window.hit(self._rate, key_id)
            reset_at, remaining = self._window.get_window_stats(self._rate, key_id)
        reset_s = max(1, math.ceil(reset_at - time.time()))
        return Standing(allowed, self._rate.amount, self._rate.get_expiry(), max(0, remaining), reset_s)
