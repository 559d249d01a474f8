"""The whole service on one machine: Redis, the worker's supervisor, the API and the process that sends webhooks,
started and stopped as one.
"""

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Never

import click

from cli.errors import BadInput, EmbeddedRedisError, Failed
from cli.settings import setting_errors
from cli.stack.children import spawn, stop
from cli.stack.client import is_live, open_client, what_is_missing
from cli.stack.embedded import EmbeddedRedis, start_redis
from cli.stack.signals import stop_on_signals
from jobs.settings import JobSettings
from service.settings import ServiceSettings

DRAIN_S = 2.0
"""On stopping, a running job has this long to finish before it goes back to the queue, for the next start."""
STOP_GRACE_S = 12.0
"""Draining, unloading and closing take less than this. What is left is killed."""
PAUSE_S = 0.3
LAST_LINES = 15
RESTARTS, RESTARTS_WITHIN_S = 3, 60.0
"""A Redis of ours that ends by itself more often than that has a fault that a restart does not mend."""


class RedisRestarter:
    """Starts our Redis again when it has ended by itself. Everything that it had acknowledged is in its file, and
    the API and the worker wait for it."""

    def __init__(self, redis: EmbeddedRedis) -> None:
        self._redis = redis
        self._restarts: list[float] = []

    def require_running(self) -> None:
        """Raises Failed when it ends too often. One that ends while it is starting counts as well."""
        while (code := self._redis.exit_code()) is not None:
            now = time.monotonic()
            self._restarts = [at for at in self._restarts if now - at < RESTARTS_WITHIN_S]
            if len(self._restarts) == RESTARTS:
                raise Failed(f"Redis ended with exit code {code} once more; see {self._redis.log}", "redis_ended")
            self._restarts.append(now)
            report(f"Redis ended with exit code {code}; starting it again")
            with suppress(EmbeddedRedisError):
                self._redis.restart()


@dataclass(frozen=True)
class Stack:
    """A started stack. It may not be ready yet."""

    url: str
    children: dict[str, subprocess.Popen[bytes]]
    log_dir: Path | None
    """Where the children write `<name>.log`; None: to our stderr."""
    restarter: RedisRestarter | None
    """None: the Redis is not ours."""

    def require_alive(self) -> None:
        """Raises Failed when one of the processes has ended by itself, or Redis does so again and again."""
        if self.restarter is not None:
            self.restarter.require_running()
        for name, child in self.children.items():
            if (code := child.poll()) is not None:
                reason = f": {last_reason(self.log_dir / f'{name}.log')}" if self.log_dir else ""
                raise Failed(f"the {name} process ended with exit code {code}{reason}", f"{name}_ended")

    def wait_live(self) -> None:
        """Returns when the API answers; a worker may still be loading its model."""
        with open_client(self.url) as client:
            while not is_live(client):
                self.require_alive()
                time.sleep(PAUSE_S)

    def wait_ready(self) -> None:
        """Returns when a worker is warm, however long that takes. Reports what is missing, whenever that changes."""
        reported = None
        with open_client(self.url) as client:
            while missing := what_is_missing(client):
                self.require_alive()
                if missing != reported:
                    report(missing)
                    reported = missing
                time.sleep(PAUSE_S)

    def serve_forever(self) -> Never:
        """Until interrupted, or until a part ends by itself, which raises Failed."""
        while True:
            self.require_alive()
            time.sleep(PAUSE_S)


def report(line: str) -> None:
    """One line on stderr."""
    click.echo(f"plumage: {line}", err=True)


def last_reason(log_file: Path) -> str:
    """The reason that was logged last, else the last lines."""
    lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
    for line in reversed(lines):
        with suppress(ValueError, TypeError, KeyError):
            return str(json.loads(line)["reason"])
    return " / ".join(lines)


def serve_until_stopped(
    host: str, port: int, data_dir: Path, welcome: Callable[[str], str], log_dir: Path | None = None
) -> None:
    """Runs a stack until Ctrl-C. When it is ready it reports what `welcome` makes of the URL.

    The processes log to files in `log_dir`, or to stderr. Raises Failed when a part ends by itself.
    """
    with suppress(KeyboardInterrupt), stop_on_signals():
        with running_stack(host=host, port=port, data_dir=data_dir, log_dir=log_dir) as stack:
            report(f"starting on {stack.url}")
            stack.wait_ready()
            report(f"ready on {stack.url}; Ctrl-C stops everything")
            report(welcome(stack.url))
            stack.serve_forever()


@contextmanager
def running_stack(
    *, host: str, port: int, data_dir: Path, log_dir: Path | None, webhooks: bool = True
) -> Iterator[Stack]:
    """Starts everything; stops everything on the way out, also when an exception passes through.

    `port` 0 takes any free one. PLUMAGE_REDIS_URL, when set, is used instead of a Redis of our own. Raises BadInput
    for an address or a setting that cannot be used, Failed when Redis does not start.
    """
    with ExitStack() as exits:
        listener = exits.enter_context(_listen(host, port))
        environment, restarter = exits.enter_context(_stores(data_dir))
        children: dict[str, subprocess.Popen[bytes]] = {}
        exits.callback(lambda: stop(list(children.values()), grace_s=STOP_GRACE_S))
        serve = ["serve", "--host", host, "--fd", str(listener.fileno())]
        with ExitStack() as files:  # the children have their own copies
            logs = {name: _open_log(files, log_dir, name) for name in ("api", "worker", "webhooks")}
            children["api"] = spawn(serve, environment=environment, log=logs["api"], pass_fds=[listener.fileno()])
            children["worker"] = spawn(["worker"], environment=environment, log=logs["worker"])
            if webhooks:
                children["webhooks"] = spawn(["deliver"], environment=environment, log=logs["webhooks"])
        address = f"[{host}]" if ":" in host else host
        yield Stack(f"http://{address}:{listener.getsockname()[1]}", children, log_dir, restarter)


def _open_log(files: ExitStack, log_dir: Path | None, name: str) -> IO[bytes] | None:
    if log_dir is None:
        return None
    log_dir.mkdir(parents=True, exist_ok=True)
    return files.enter_context((log_dir / f"{name}.log").open("wb"))


def _listen(host: str, port: int) -> socket.socket:
    """Bound here rather than in the API process, so that the port is known and ours before anything starts."""
    with setting_errors():
        ServiceSettings()  # the API process reads them too; here a wrong one is one line, before anything starts
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        raise BadInput(f"cannot listen on {host} port {port}: {error}; --port 0 takes any free one") from error


@contextmanager
def _stores(data_dir: Path) -> Iterator[tuple[dict[str, str], RedisRestarter | None]]:
    """Environment for the children: where Redis and the objects are. Starts a Redis unless one is given, and then
    yields its restarter too. Raises Failed when it does not start."""
    with setting_errors():
        settings = JobSettings(data_dir=data_dir.absolute(), drain_s=DRAIN_S)
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        redis = start_redis(settings.data_dir) if settings.redis_url is None else None
    except OSError as error:
        raise Failed(str(error), "no_redis") from error
    with redis or ExitStack():
        url = redis.url if redis else settings.redis_url
        environment = settings.model_copy(update={"redis_url": url}).environment()
        yield environment, RedisRestarter(redis) if redis else None
