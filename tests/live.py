"""The service as its users meet it: every part a process of its own, and real but for the sampler.

`python -m tests.live` keeps one running and says where.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from cli.stack.embedded import start_redis
from jobs.settings import JobSettings
from jobs.stores.api_keys import ApiKeys, Scope
from jobs.stores.connection import connect_redis
from jobs.stores.redis_stores import RedisStores
from tests.faults.stack import PROGRAM as WORKER

API = (
    "import sys; from jobs.lifeline import die_with_parent; die_with_parent(int(sys.argv.pop(1)));"
    "from cli.main import main; main()"
)
START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Live:
    """A running service that asks for keys and sends webhooks, also to this machine."""

    url: str
    stores: RedisStores
    log: Path
    """What the API and the worker log."""

    @property
    def keys(self) -> ApiKeys:
        return self.stores.api_keys

    def key(self, tenant: str = "alice") -> str:
        """A new key that may do what a client does."""
        return self.keys.create(tenant, [Scope.SUBMIT, Scope.READ])[0]

    def webhook_secret(self, tenant: str = "alice") -> str:
        return self.stores.webhook_secrets.create(tenant).token

    def client(self, tenant: str = "alice") -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.key(tenant)}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)


@contextmanager
def running_service(folder: Path, **variables: str) -> Iterator[Live]:
    """Starts Redis, the API, a sender of webhooks and one worker; stops them on the way out. `variables` are of the
    environment."""
    given = {
        "PLUMAGE_REQUIRE_KEYS": "1",
        "PLUMAGE_RATE_LIMIT": "1000000/second",
        "PLUMAGE_WEBHOOKS_PRIVATE": "1",
        "OMP_NUM_THREADS": "1",
        **variables,
    }
    with ExitStack() as exits:
        redis = exits.enter_context(start_redis(folder))
        settings = JobSettings(redis_url=redis.url, data_dir=folder, max_queued=1_000_000, lease_s=30)
        environment = {**os.environ, **settings.environment(), **given}
        listener = exits.enter_context(socket.create_server(("127.0.0.1", 0)))
        log = folder / "service.log"
        output = exits.enter_context(log.open("ab"))

        def start(program: str, *arguments: str) -> None:
            command = [sys.executable, "-c", program, str(os.getpid()), *arguments]
            fds = [listener.fileno()]
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, pass_fds=fds)
            exits.callback(_stop, process)

        start(API, "serve", "--fd", str(listener.fileno()))
        start(API, "deliver")
        start(WORKER)
        connection = exits.enter_context(connect_redis(redis.url))
        stores = RedisStores.open(connection, settings)
        live = Live(f"http://127.0.0.1:{listener.getsockname()[1]}", stores, log)
        _wait_ready(live)
        yield live


def _wait_ready(live: Live) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    with httpx.Client(base_url=live.url, timeout=START_TIMEOUT_S, trust_env=False) as http:
        while http.get("/healthz/ready").status_code != 200:
            assert time.monotonic() < deadline, live.log.read_text()
            time.sleep(0.1)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    with TemporaryDirectory() as place, running_service(Path(place)) as service:
        sys.stdout.write(json.dumps({"url": service.url, "key": service.key()}) + "\n")
        sys.stdout.flush()
        sys.stdin.read()
