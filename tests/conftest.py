"""Real parts for all tests: one embedded Redis per session, emptied before each test, and a folder of objects."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from redis import Redis

from cli.stack.embedded import EmbeddedRedis, start_redis
from jobs.objects import ObjectStore
from jobs.settings import JobSettings
from jobs.stores.connection import connect_redis
from jobs.stores.job_store import JobStore
from jobs.stores.redis_stores import RedisStores
from tests.roles import UNDER_ACL, acl_options, as_role

# The default one renders every local variable of a traceback, tensors included, which takes a minute.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ]
)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    folder = tmp_path_factory.mktemp("redis")
    with start_redis(folder, fsync="everysec", more=acl_options(folder) if UNDER_ACL else ()) as server:
        yield server


@pytest.fixture(scope="session")
def api_url(redis_server: EmbeddedRedis) -> str:
    """URL of the Redis for what the API does; under the ACL, as its user."""
    return as_role(redis_server.url, "api") if UNDER_ACL else redis_server.url


@pytest.fixture(scope="session")
def worker_url(redis_server: EmbeddedRedis) -> str:
    """URL of the Redis for what a worker does; under the ACL, as its user."""
    return as_role(redis_server.url, "worker") if UNDER_ACL else redis_server.url


@pytest.fixture(scope="session")
def webhooks_url(redis_server: EmbeddedRedis) -> str:
    """URL of the Redis for what sends webhooks; under the ACL, as its user."""
    return as_role(redis_server.url, "webhooks") if UNDER_ACL else redis_server.url


@pytest.fixture
def redis(redis_server: EmbeddedRedis) -> Iterator[Redis]:
    """An empty database, seen by a user who may do everything."""
    with connect_redis(redis_server.url) as client:
        client.flushall()
        yield client


@pytest.fixture
def job_settings(api_url: str, tmp_path: Path) -> JobSettings:
    return JobSettings(redis_url=api_url, data_dir=tmp_path)


@pytest.fixture
def client(redis: Redis, api_url: str) -> Iterator[Redis]:
    """The same empty database, seen by the API."""
    with connect_redis(api_url) as client:
        yield client


@pytest.fixture
def stores(client: Redis, job_settings: JobSettings) -> RedisStores:
    return RedisStores.open(client, job_settings)


@pytest.fixture
def store(stores: RedisStores) -> JobStore:
    return stores.jobs


@pytest.fixture
def objects(job_settings: JobSettings) -> ObjectStore:
    return ObjectStore.from_settings(job_settings)
