"""The real app behind a real uvicorn, a real Redis and a folder of objects. Only the worker is played."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn
from redis import Redis

from jobs.connect import connect_redis
from jobs.objects import ObjectStore
from jobs.settings import JobSettings
from jobs.store import JobStore
from service.app import create_app
from service.settings import ServiceSettings
from tests.pictures import encoded, gradient

TARGET = encoded(gradient())
REFERENCE = encoded(gradient(), "JPEG")


@dataclass(frozen=True)
class Stack:
    """What a test may look behind the API with."""

    http: httpx.Client
    store: JobStore
    objects: ObjectStore

    def submit(self, **fields: Any) -> httpx.Response:
        """Posts the two pictures and these fields; bytes are files, None leaves a picture away."""
        given = {"target": TARGET, "reference": REFERENCE, **fields}
        parts = [
            (name, ("a.png", value) if isinstance(value, bytes) else (None, str(value)))
            for name, value in given.items()
            if value is not None
        ]
        return self.http.post("/v1/transfers", files=parts)

    def submitted(self, **fields: Any) -> dict[str, Any]:
        response = self.submit(**fields)
        assert response.status_code == 202, response.text
        record: dict[str, Any] = response.json()
        return record

    def inputs(self) -> list[str]:
        return self.objects.keys("inputs/")


StartStack = Callable[..., Stack]


@pytest.fixture
def start_stack(redis: Redis, job_settings: JobSettings) -> Iterator[StartStack]:
    """Starts the API on an empty Redis. `service` replaces its settings, keywords those of the jobs."""
    running: list[tuple[uvicorn.Server, threading.Thread, Stack]] = []

    def start(service: ServiceSettings | None = None, **jobs: Any) -> Stack:
        settings = job_settings.model_copy(update=jobs)
        assert settings.redis_url is not None
        client = redis if settings.redis_url == job_settings.redis_url else connect_redis(settings.redis_url)
        store, objects = JobStore(client, settings), ObjectStore.from_settings(settings)
        app = create_app(service or ServiceSettings(), store, objects)
        server = uvicorn.Server(
            uvicorn.Config(app, port=0, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=2)
        )
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False)
        stack = Stack(http, store, objects)
        running.append((server, thread, stack))
        return stack

    yield start
    for server, thread, stack in running:
        stack.http.close()
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def stack(start_stack: StartStack) -> Stack:
    return start_stack()
