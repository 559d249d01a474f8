"""`plumage up` and `plumage demo`: the whole stack as real processes, on a random checkpoint of 64 x 64 pixels."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from cli.stack.embedded import running_redis
from cli.stack.stack import RESTARTS
from tests.contract.cli.processes import PATIENCE_S, Shell

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def shell(checkpoint: Path, tmp_path: Path) -> Iterator[Shell]:
    with tempfile.TemporaryDirectory(prefix="plumage-") as temporary:
        shell = Shell(checkpoint, tmp_path, Path(temporary))
        yield shell
        shell.kill_all()


def save_picture(path: Path, size: tuple[int, int], mode: str = "RGB") -> Path:
    Image.linear_gradient("L").resize(size).convert(mode).save(path)
    return path


def test_once_writes_the_picture_and_prints_one_line(shell: Shell, tmp_path: Path) -> None:
    target = save_picture(tmp_path / "target.png", (130, 90), "RGBA")
    reference = save_picture(tmp_path / "reference.jpg", (70, 100))
    files = ["--target", str(target), "--reference", str(reference), "--out", "made/out.png"]
    process = shell.start("demo", "--once", *files, "--seed", "7")
    printed, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, shell.stderr
    (line,) = printed.splitlines()
    report = json.loads(line)
    assert set(report) == {"id", "status", "seconds", "seed", "model", "out"}
    assert report["status"] == "succeeded"
    assert report["seed"] == 7
    assert report["seconds"] > 0
    assert set(report["model"]) == {"id", "revision", "device", "dtype"}
    with Image.open(io.BytesIO((tmp_path / "made" / "out.png").read_bytes())) as made:
        assert (made.format, made.size, made.mode) == ("PNG", (130, 90), "RGBA")
    shell.wait_until_gone(within_s=0.0)


def test_the_commands_to_paste_work_and_ctrl_c_stops_everything(shell: Shell, tmp_path: Path) -> None:
    process = shell.start("demo", "--port", "0")
    shell.wait_for_line("in a browser", process)
    pasted = "\n".join(re.findall(r"^  (.*curl .*)$", shell.stderr, re.MULTILINE))
    assert pasted.count("curl") == 2
    subprocess.run(["bash", "-euc", pasted], cwd=tmp_path, check=True, timeout=PATIENCE_S)
    with Image.open(tmp_path / "result.png") as made, Image.open(re.findall(r"target=@(\S+)", pasted)[0]) as target:
        assert made.size == target.size
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20)[0] == ""
    assert process.returncode == 0
    shell.wait_until_gone(within_s=0.0)


def test_no_process_outlives_a_killed_parent(shell: Shell) -> None:
    process = shell.start("up", "--port", "0")
    shell.wait_for_line("worker.started", process)
    commands = " ".join(shell.processes().values())
    assert all(part in commands for part in ("redis-server", "serve", "cli worker", "-m worker"))
    process.kill()
    process.communicate()
    shell.wait_until_gone(within_s=3.0)


def test_a_checkpoint_that_cannot_be_used_is_named_and_ends_everything(shell: Shell) -> None:
    process = shell.start("demo", "--once", more={"PLUMAGE_MODEL": "/nowhere/sdxl"})
    printed, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    report = json.loads(printed)
    assert report["status"] == "failed"
    assert report["error"]["code"] == "worker_ended"
    assert "/nowhere/sdxl" in report["error"]["message"]
    assert "Traceback" not in shell.stderr
    shell.wait_until_gone(within_s=0.0)


def test_a_refused_picture_fails_with_the_code_of_the_api(shell: Shell, tmp_path: Path) -> None:
    junk = tmp_path / "junk.png"
    junk.write_text("not a picture")
    reference = save_picture(tmp_path / "reference.png", (70, 100))
    process = shell.start("demo", "--once", "--target", str(junk), "--reference", str(reference))
    printed, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert json.loads(printed)["error"]["code"] == "image_type_unsupported"
    assert not (tmp_path / "out" / "result.png").exists()
    shell.wait_until_gone(within_s=0.0)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--target", "nowhere.png", "--reference", "nowhere.png"], "file_not_found"),
        (["--target", "nowhere.png"], "bad_input"),
        (["--out", "result.jpg"], "bad_output"),
    ],
)
def test_bad_arguments_are_one_line_and_start_nothing(shell: Shell, arguments: list[str], code: str) -> None:
    process = shell.start("demo", "--once", *arguments)
    printed, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert json.loads(printed)["error"]["code"] == code
    assert len(shell.stderr.splitlines()) == 1


def test_a_taken_port_is_one_line(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = shell.start("up", "--port", str(taken.getsockname()[1]))
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert len(shell.stderr.splitlines()) == 1
    assert "--port 0" in shell.stderr


def test_an_open_address_asks_for_keys_and_one_can_be_made_meanwhile(shell: Shell) -> None:
    process = shell.start("up", "--port", "0", "--host", "0.0.0.0")
    shell.wait_for_line("ready on http", process)
    (port,) = re.findall(r"ready on http://0\.0\.0\.0:(\d+)", shell.stderr)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert client.get("/v1/transfers").status_code == 401
        token = shell.run("keys", "create", "--tenant", "acme", "--expires-in", "1d").strip()
        headers = {"Authorization": f"Bearer {token}"}
        assert client.get("/v1/transfers", headers=headers).status_code == 200
        (listed,) = shell.run("keys", "list").splitlines()
        assert listed.split()[1:3] == ["acme", "read,submit"]
        assert token not in listed
        shell.run("keys", "revoke", listed.split()[0])
        assert client.get("/v1/transfers", headers=headers).status_code == 401
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert shell.run("keys", "list") == ""  # with a Redis that runs for this alone
    shell.wait_until_gone(within_s=0.0)


def redis_of(shell: Shell, but: int) -> int:
    """Process id of the server that answers and is another than `but`."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        servers = [pid for pid, command in shell.processes().items() if "redis-server unixsocket" in command]
        found = [pid for pid in servers if pid != but]
        if found and running_redis(shell.folder / "data"):
            return found[0]
        assert time.monotonic() < deadline, shell.stderr
        time.sleep(0.05)


def test_a_redis_that_ends_is_started_again_but_not_for_ever(shell: Shell) -> None:
    process = shell.start("up", "--port", "0")
    shell.wait_for_line("worker.started", process)
    server = 0
    for _ in range(RESTARTS + 1):
        server = redis_of(shell, but=server)
        os.kill(server, signal.SIGKILL)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert shell.stderr.count("starting it again") == RESTARTS
    assert "once more" in shell.stderr
    assert "Traceback" not in shell.stderr
    shell.wait_until_gone(within_s=0.0)
