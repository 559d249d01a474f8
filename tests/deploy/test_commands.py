"""Every command of the Dockerfile and the compose file is run, outside a container, on real parts."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from jobs.embedded import EmbeddedRedis, find_server
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
    script = script.replace("$$", "$").replace("/etc/redis/plumage.conf", str(ROOT / "deploy" / "redis.conf"))
    script = script.replace("/data", str(tmp_path)) + f" --port {port} --bind 127.0.0.1"
    kind, check = service["healthcheck"]["test"]
    check = check.replace("$$", "$").replace("redis-cli", f"redis-cli -p {port}")
    assert kind == "CMD-SHELL"
    programs = os.pathsep.join([str(find_server().parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": programs, "REDIS_PASSWORD": "p" * 32}
    with running([shell, flag, script], environment, tmp_path):
        wait_until(["sh", "-c", check], environment)
        with Redis(port=port, password="p" * 32) as client:
            settings: dict[str, str] = client.config_get("*")
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "everysec"
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["dir"] == str(tmp_path)


class FewObjects(BaseHTTPRequestHandler):
    """The three requests of S3 that a put and a get need, unsigned."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        taken = self.path in self.objects and self.headers["If-None-Match"] == "*"
        if not taken:
            self.objects[self.path] = body
        self._answer(412 if taken else 200, b"")

    def do_GET(self) -> None:
        found = self.objects.get(self.path)
        self._answer(200 if found is not None else 404, found or b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"tag"')
        self.send_header("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Quiet."""


def test_the_composed_variables_lead_to_the_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    service = read_compose()["services"]["api"]
    server = ThreadingHTTPServer(("127.0.0.1", 0), FewObjects)
    FewObjects.objects = {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in service["environment"].items():
        if name.startswith("AWS_"):
            value = value.replace("http://objects:7070", f"http://127.0.0.1:{server.server_port}")
            monkeypatch.setenv(name, value.split(":?")[0].strip("${}"))
    store = ObjectStore.from_settings(JobSettings(objects_url=service["environment"]["PLUMAGE_OBJECTS_URL"]))
    store.put("inputs/local/a/target.png", b"first", "image/png")
    with pytest.raises(ObjectExists):
        store.put("inputs/local/a/target.png", b"second", "image/png")
    server.shutdown()
    server.server_close()
    assert FewObjects.objects == {"/plumage/objects/inputs/local/a/target.png": b"first"}
    # The first part of the path is the bucket, which the object service makes when it starts.
    assert "mkdir -p /data/plumage " in read_compose()["services"]["objects"]["entrypoint"][-1]
