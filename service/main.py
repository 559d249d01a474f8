"""The API process: settings read once, stores opened, the app served by uvicorn.

`uvicorn --factory service.main:app` works too; not knowing its address, it requires keys.
"""

import socket

import uvicorn
from fastapi import FastAPI
from redis import Redis

from jobs.logs import configure_logs
from jobs.objects import ObjectStore
from jobs.settings import JobSettings
from jobs.stores.api_keys import ApiKeys
from jobs.stores.connection import connect_redis
from jobs.stores.redis_stores import RedisStores
from service.app import create_app
from service.middleware.auth import ApiKeyAuth, Authenticator, LocalAuth, RateLimiter
from service.middleware.slow_clients import paced_protocol
from service.settings import ServiceSettings

DRAIN_S = 10
"""On SIGTERM: time for requests in flight. Event streams end at once, and their clients come back."""

STORE_PATIENCE_S = 1.5
"""A client asks again sooner than a dead object store comes back: with it down, a request ends within 2 s."""


class MissingRedis(ValueError):
    """No URL of a Redis was given."""


def app(host: str | None = None) -> FastAPI:
    """The app as the environment configures it, to listen on `host`.

    Raises MissingRedis and pydantic's ValidationError.
    """
    configure_logs()
    jobs = JobSettings()
    if jobs.redis_url is None:
        raise MissingRedis("PLUMAGE_REDIS_URL is not set; `plumage up` starts a Redis of its own.")
    settings, redis = ServiceSettings(), connect_redis(jobs.redis_url)
    authenticator = authenticator_for(host, settings, jobs, redis)
    objects = ObjectStore.from_settings(jobs, patience_s=STORE_PATIENCE_S)
    application = create_app(settings, RedisStores.open(redis, jobs), objects, authenticator)
    application.state.resources.decoders.start()  # warm by the time the server is
    return application


def authenticator_for(host: str | None, settings: ServiceSettings, jobs: JobSettings, redis: Redis) -> Authenticator:
    """How requests are authenticated by an API that listens on `host`; None: on an unknown address."""
    if settings.asks_for_keys(host):
        return ApiKeyAuth(ApiKeys(redis, jobs), RateLimiter(redis, jobs.prefix, settings.rate_limit))
    return LocalAuth(settings.host_names)


class Server(uvicorn.Server):
    """Lets event streams end before it waits for connections to close: they would not end by themselves."""

    def __init__(self, config: uvicorn.Config, application: FastAPI) -> None:
        super().__init__(config)
        self._application = application

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._application.state.resources.stopping = True
        await super().shutdown(sockets)


def server(application: FastAPI, host: str, port: int) -> Server:
    """A server that is ready to run."""
    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        access_log=False,  # the app logs every request itself, with its id
        log_config=None,
        server_header=False,
        http=paced_protocol(application.state.resources.settings.slowest_pace),
        ws="none",
        timeout_graceful_shutdown=DRAIN_S,
    )
    return Server(config, application)
