"""The whole service on one machine: Redis, the worker's supervisor and the API, started and stopped as one."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Never

from cli.children import spawn, stop
from cli.errors import BadInput, Failed
from cli.settings import explained

DRAIN_S = 2.0
"""On stopping, a running job has this long to finish before it goes back to the queue, for the next start."""

STOP_GRACE_S = 12.0
"""Draining, unloading and closing take less than this. What is left is killed."""

LAST_LINES = 15
Report = Callable[[str], None]


@dataclass(frozen=True)
class Stack:
    """A started stack. It may not be ready yet."""

    url: str
    children: dict[str, subprocess.Popen[bytes]]
    log_file: Path | None

    def require_alive(self) -> None:
        """Raises Failed when the API or the supervisor has ended by itself."""
        for name, child in self.children.items():
            if (code := child.poll()) is not None:
                raise Failed(f"the {name} ended with exit code {code}{self._last_words()}", f"{name}_ended")

    def wait_ready(self, report: Report, timeout_s: float) -> None:
        """Returns when a worker is warm. `report` gets a line each time that something else is missing."""
        from cli.client import readiness

        deadline = time.monotonic() + timeout_s
        said = ""
        while (missing := readiness(self.url)) is not None:
            self.require_alive()
            if missing != said:
                report(missing)
                said = missing
            if time.monotonic() > deadline:
                raise Failed(f"not ready after {timeout_s:g} s: {missing}{self._last_words()}", "not_ready")
            time.sleep(0.2)

    def serve_forever(self) -> Never:
        """Until interrupted, or until a part ends by itself, which raises Failed."""
        while True:
            self.require_alive()
            time.sleep(0.5)

    def _last_words(self) -> str:
        if self.log_file is None:
            return ""
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n  ".join(["; its last lines:", *lines[-LAST_LINES:]])


@contextmanager
def running_stack(*, host: str, port: int, data_dir: Path, log_to_file: bool) -> Iterator[Stack]:
    """Starts everything; stops everything on the way out, also when an exception passes through.

    `port` 0 takes any free one. PLUMAGE_REDIS_URL, when set, is used instead of a Redis of our own. With
    `log_to_file` the processes write to `data_dir/log.txt` instead of stderr. Raises BadInput for an address or a
    setting that cannot be used, Failed when Redis does not start.
    """
    log_file = data_dir / "log.txt" if log_to_file else None
    with ExitStack() as exits:
        listener = exits.enter_context(_listen(host, port))
        environment = exits.enter_context(_stores(data_dir))
        log = exits.enter_context(log_file.open("wb")) if log_file else None
        children: dict[str, subprocess.Popen[bytes]] = {}
        exits.callback(lambda: stop(list(children.values()), grace_s=STOP_GRACE_S))
        serve = ["serve", "--host", host, "--fd", str(listener.fileno())]
        children["API"] = spawn(serve, environment=environment, log=log, pass_fds=[listener.fileno()])
        children["worker"] = spawn(["worker"], environment=environment, log=log)
        address = f"[{host}]" if ":" in host else host
        yield Stack(f"http://{address}:{listener.getsockname()[1]}", children, log_file)


def _listen(host: str, port: int) -> socket.socket:
    """Bound here rather than in the API process, so that the port is known and ours before anything starts."""
    from service.settings import ServiceSettings

    with explained():
        ServiceSettings().check_binding(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        raise BadInput(f"cannot listen on {host} port {port}: {error}; --port 0 takes any free one") from error


@contextmanager
def _stores(data_dir: Path) -> Iterator[dict[str, str]]:
    """Environment for the children: where Redis and the objects are. Starts a Redis unless one is given."""
    from jobs.embedded import start_redis
    from jobs.errors import EmbeddedRedisError
    from jobs.settings import JobSettings

    with explained():
        settings = JobSettings(data_dir=data_dir.absolute(), drain_s=DRAIN_S)
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        redis = start_redis(settings.data_dir) if settings.redis_url is None else None
    except (EmbeddedRedisError, OSError) as error:
        raise Failed(str(error), "no_redis") from error
    with redis or ExitStack():
        url = redis.url if redis else settings.redis_url
        yield settings.model_copy(update={"redis_url": url}).environment()
