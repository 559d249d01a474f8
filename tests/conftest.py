"""Real parts for all tests: one embedded Redis per session, emptied before each test, and a folder of objects."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from redis import Redis

from jobs.connect import connect_redis
from jobs.embedded import EmbeddedRedis, start_redis
from jobs.objects import ObjectStore
from jobs.settings import JobSettings
from jobs.store import JobStore

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
    with start_redis(tmp_path_factory.mktemp("redis"), fsync="everysec") as server:
        yield server


@pytest.fixture
def redis(redis_server: EmbeddedRedis) -> Iterator[Redis]:
    """An empty database."""
    with connect_redis(redis_server.url) as client:
        client.flushall()
        yield client


@pytest.fixture
def job_settings(redis_server: EmbeddedRedis, tmp_path: Path) -> JobSettings:
    return JobSettings(redis_url=redis_server.url, data_dir=tmp_path)


@pytest.fixture
def store(redis: Redis, job_settings: JobSettings) -> JobStore:
    return JobStore(redis, job_settings)


@pytest.fixture
def objects(job_settings: JobSettings) -> ObjectStore:
    return ObjectStore.from_settings(job_settings)
