"""The real app behind a real uvicorn, a real Redis and a folder of objects. Only the worker is played."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import structlog
import uvicorn
from redis import Redis

from jobs.objects import ObjectStore
from jobs.settings import JobSettings
from jobs.stores.api_keys import ApiKeys
from jobs.stores.connection import connect_redis
from jobs.stores.job_store import JobStore
from jobs.stores.redis_stores import RedisStores
from service.app import create_app
from service.main import authenticator_for, server
from service.settings import ServiceSettings
from tests.pictures import encoded, gradient

TARGET = encoded(gradient())
REFERENCE = encoded(gradient(), "JPEG")


@dataclass(frozen=True)
class Stack:
    """What a test may look behind the API with."""

    http: httpx.Client
    stores: RedisStores
    objects: ObjectStore
    server: uvicorn.Server

    @property
    def store(self) -> JobStore:
        return self.stores.jobs

    @property
    def keys(self) -> ApiKeys:
        return self.stores.api_keys

    def submit(self, headers: Any = None, **fields: Any) -> httpx.Response:
        """Posts the two pictures and these fields; bytes are files, None leaves one away."""
        given = {"target": TARGET, "reference": REFERENCE, **fields}
        parts = [
            (name, ("a.png", value) if isinstance(value, bytes) else (None, str(value)))
            for name, value in given.items()
            if value is not None
        ]
        return self.http.post("/v1/transfers", files=parts, headers=headers)

    def submitted(self, **fields: Any) -> dict[str, Any]:
        response = self.submit(**fields)
        assert response.status_code == 202, response.text
        record: dict[str, Any] = response.json()
        return record

    def inputs(self) -> list[str]:
        return self.objects.keys("inputs/")


StartStack = Callable[..., Stack]


@pytest.fixture(scope="session", autouse=True)
def plain_logs() -> Iterator[None]:
    """Without this structlog renders every exception with all local variables, which takes seconds."""
    merge, render = structlog.contextvars.merge_contextvars, structlog.processors.JSONRenderer()
    structlog.configure(processors=[merge, structlog.processors.format_exc_info, render])
    yield
    structlog.reset_defaults()


@contextmanager
def serving(service: ServiceSettings, jobs: JobSettings, objects: ObjectStore | None = None) -> Iterator[Stack]:
    assert jobs.redis_url is not None
    redis, objects = connect_redis(jobs.redis_url), objects or ObjectStore.from_settings(jobs)
    stores = RedisStores.open(redis, jobs)
    app = create_app(service, stores, objects, authenticator_for("127.0.0.1", service, jobs, redis))
    running = server(app, "127.0.0.1", 0)
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        assert thread.is_alive()
        time.sleep(0.005)
    port = running.servers[0].sockets[0].getsockname()[1]
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as http:
            yield Stack(http, stores, objects, running)
    finally:
        running.should_exit = True
        thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def start_stack(redis: Redis, job_settings: JobSettings) -> Iterator[StartStack]:
    """Starts the API on an empty Redis. `service` replaces its settings, keywords those of the jobs."""
    with ExitStack() as running:

        def start(service: ServiceSettings | None = None, **jobs: Any) -> Stack:
            settings = job_settings.model_copy(update=jobs)
            return running.enter_context(serving(service or ServiceSettings(), settings))

        yield start


@pytest.fixture(scope="session")
def shared_stack(api_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    jobs = JobSettings(redis_url=api_url, data_dir=tmp_path_factory.mktemp("data"))
    with serving(ServiceSettings(), jobs) as stack:
        yield stack


@pytest.fixture
def stack(redis: Redis, shared_stack: Stack) -> Stack:
    """The API with default settings, an empty Redis and no objects."""
    for kind in ("inputs/", "results/", "previews/", "assets/"):
        shared_stack.objects.delete_prefix(kind)
    return shared_stack
