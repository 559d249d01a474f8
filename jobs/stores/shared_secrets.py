"""Secrets that the processes of the service share without an operator who hands them round: what signs links."""

import secrets

from redis import Redis

from jobs.settings import JobSettings
from jobs.stores.scripts import Scripts

BYTES = 32


class SharedSecrets:
    """Every method raises StoreUnavailable when Redis cannot serve. Safe to share between threads."""

    def __init__(self, redis: Redis, settings: JobSettings) -> None:
        self._scripts = Scripts(redis, settings.prefix)

    def get(self, purpose: str) -> bytes:
        """64 hexadecimal digits: drawn when first asked for, kept as long as Redis keeps them."""
        answer = self._scripts.call("key_for", purpose, secrets.token_hex(BYTES))
        assert isinstance(answer, bytes)
        return answer
