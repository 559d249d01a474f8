"""Every command of the Dockerfile and the compose file is run, outside a container, on real parts."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError

from cli.stack.embedded import EmbeddedRedis, find_server
from jobs.errors import ObjectExists
from jobs.objects import ObjectStore
from jobs.settings import JobSettings
from tests.deploy.files import ROOT, read_compose, read_stages
from tests.deploy.images import PYTHON, install

PATIENCE_S = 90.0
TORCH = {"torch", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "fsspec", "filelock", "typing-extensions"}
"""What `pip install torch` brings on this machine."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_until(command: list[str], environment: Mapping[str, str]) -> None:
    """Repeats a health check until it passes."""
    deadline = time.monotonic() + PATIENCE_S
    while (done := subprocess.run(command, env=environment, capture_output=True, text=True)).returncode != 0:
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.2)


def here(word: str, port: int) -> str:
    """A word of a command in the image, as it has to be on this machine."""
    return str(PYTHON) if word == "python" else word.replace("8000", str(port)).replace("0.0.0.0", "127.0.0.1")


def stores(redis_url: str, folder: Path) -> dict[str, str]:
    return {"PLUMAGE_REDIS_URL": redis_url, "PLUMAGE_DATA_DIR": str(folder)}


@contextmanager
def running(command: list[str], environment: Mapping[str, str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env=environment, cwd=folder)
    try:
        yield process
        process.terminate()
        assert process.wait(PATIENCE_S) in (0, -15)
    finally:
        process.kill()
        process.wait()


def plumage(words: list[str]) -> list[str]:
    """The entry point's command; `python -m cli` is the script `plumage`."""
    assert words[0] == "plumage"
    return [str(PYTHON), "-m", "cli", *words[1:]]


def test_the_api_image_serves_and_its_health_check_passes(
    redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path
) -> None:
    api = read_stages()["api"]
    environment = install(read_stages()["build-api"], tmp_path) | stores(redis_server.url, tmp_path)
    environment |= {"PLUMAGE_REQUIRE_KEYS": "true"}
    port = free_port()
    command = [here(word, port) for word in plumage(api.command("ENTRYPOINT") + api.command("CMD"))]
    health = [here(word, port) for word in api.health_command()]
    assert subprocess.run(health, capture_output=True).returncode != 0
    with running(command, environment, tmp_path):
        wait_until(health, environment)
        with pytest.raises(urllib.error.HTTPError) as not_ready:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz/ready", timeout=5)
        checks = {check["name"]: check["ok"] for check in json.load(not_ready.value)["checks"]}
        not_ready.value.close()
        create = [*plumage(api.command("ENTRYPOINT")), "keys", "create", "--tenant", "me"]
        key = subprocess.check_output(create, env=environment, text=True).strip()
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/transfers", timeout=5)
        refused.value.close()
        headers = {"Authorization": f"Bearer {key}"}
        listing = urllib.request.Request(f"http://127.0.0.1:{port}/v1/transfers", headers=headers)
        with urllib.request.urlopen(listing, timeout=5) as answer:
            assert json.load(answer) == {"items": [], "next": None}
    assert refused.value.code == 401
    assert checks == {"redis": True, "objects": True, "worker": False}


def test_the_worker_image_warms_up_and_its_health_check_passes(
    redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    worker = read_stages()["worker"]
    environment = install(read_stages()["build-worker"], tmp_path, also=TORCH) | stores(redis_server.url, tmp_path)
    environment |= {"PLUMAGE_MODEL": str(tiny_checkpoint)}
    health = plumage(worker.health_command())
    assert subprocess.run(health, env=environment, capture_output=True).returncode == 1
    with running(plumage(worker.command("ENTRYPOINT") + worker.command("CMD")), environment, tmp_path):
        wait_until(health, environment)
    assert subprocess.run(health, env=environment, capture_output=True).returncode == 1


def test_redis_starts_as_composed_and_its_health_check_passes(tmp_path: Path) -> None:
    service = read_compose()["services"]["redis"]
    port = free_port()
    shell, flag, script = service["command"]
    script = script.replace("$$", "$").replace("/tmp/acl.conf", str(tmp_path / "acl.conf"))
    script = script.replace("--dir /data", f"--dir {tmp_path}")
    for mount in service["volumes"][:2]:
        source, target, _ = mount.split(":")
        script = script.replace(target, str(ROOT / source))
    script = f"{script.rstrip()} --port {port} --bind 127.0.0.1"
    kind, check = service["healthcheck"]["test"]
    check = check.replace("$$", "$").replace("redis-cli", f"redis-cli -p {port}")
    assert kind == "CMD-SHELL"
    programs = os.pathsep.join([str(find_server().parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    passwords = {"REDIS_API_PASSWORD": "p" * 32, "REDIS_WORKER_PASSWORD": "q" * 32, "REDIS_WEBHOOKS_PASSWORD": "r" * 32}
    environment = {**os.environ, "PATH": programs, **passwords}
    with running([shell, flag, script], environment, tmp_path):
        wait_until(["sh", "-c", check], environment)
        with Redis(port=port) as nobody, pytest.raises(AuthenticationError):
            nobody.ping()
        with Redis(port=port, username="worker", password="p" * 32) as other, pytest.raises(AuthenticationError):
            other.ping()
        for name, letter in (("worker", "q"), ("webhooks", "r")):
            with Redis(port=port, username=name, password=letter * 32) as client:
                assert client.ping()
        with Redis(port=port, username="api", password="p" * 32) as client:
            found: dict[str, object] = client.info()
            with pytest.raises(NoPermissionError):
                client.config_get("*")
    assert found["aof_enabled"] == 1
    assert found["maxmemory_policy"] == "noeviction"
    assert (tmp_path / "acl.conf").stat().st_mode & 0o077 == 0
    assert {path.name for path in tmp_path.iterdir()} & {"appendonly.aof", "appendonlydir"}


def test_the_composed_variables_lead_to_the_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    services = read_compose()["services"]
    variables = services["api"]["environment"]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    for name, value in variables.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value.replace("http://objects:7070", endpoint))
    # The object service makes the bucket when it starts: a folder below its root.
    bucket = re.search(r"mkdir -p /data/(\S+) ", services["objects"]["entrypoint"][-1])
    assert bucket is not None
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{bucket[1]}", method="PUT")).close()
    store = ObjectStore.from_settings(JobSettings(objects_url=variables["PLUMAGE_OBJECTS_URL"]))
    store.put("inputs/local/a/target.png", b"first", "image/png")
    with pytest.raises(ObjectExists):
        store.put("inputs/local/a/target.png", b"second", "image/png")
    assert store.get("inputs/local/a/target.png") == b"first"
    server.stop()
