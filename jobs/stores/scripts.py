"""The Lua scripts: every change of a record is one of them, so it happens whole or not at all."""

from datetime import UTC, datetime
from functools import cache
from importlib.resources import files

from redis import Redis
from redis.commands.core import Script

from jobs.stores.connection import redis_errors


@cache
def source(name: str) -> str:
    """The text of the script of this name, as the server runs and hashes it."""
    folder = files("jobs.stores") / "lua"
    return "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("shared", "events", name))


def fields_of(flat: object) -> dict[str, str]:
    """A hash as the scripts return it, [field, value, …]."""
    assert isinstance(flat, list)
    return {name.decode(): value.decode() for name, value in zip(flat[::2], flat[1::2], strict=True)}


def to_datetime(milliseconds: str | int) -> datetime:
    """A time as the scripts write it, milliseconds since 1970."""
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


class Scripts:
    """Calls scripts by name. Key names are built inside from the prefix, so one server is assumed and not a
    cluster, as RQ does."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix
        self._registered: dict[str, Script] = {}

    def call(self, name: str, *args: str | int | float) -> object:
        """Raises StoreUnavailable."""
        if name not in self._registered:
            self._registered[name] = self._redis.register_script(source(name))
        with redis_errors():
            return self._registered[name](args=[self._prefix, *args])
