"""`plumage doctor`: each thing is broken for real, and named."""

import json
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from redis import Redis

from checkpoints.settings import MINI
from cli.commands.doctor import doctor
from cli.stack.embedded import EmbeddedRedis, start_redis
from jobs.stores.connection import connect_redis
from tests.roles import acl_options, as_role


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    folder = tmp_path_factory.mktemp("doctor")
    with start_redis(folder, more=acl_options(folder)) as server:
        yield server


@pytest.fixture
def redis(server: EmbeddedRedis) -> Iterator[Redis]:
    """Its settings are put back afterwards."""
    with connect_redis(server.url) as client:
        before = client.config_get("*")
        yield client
        client.execute_command("REPLICAOF", "NO", "ONE")
        for name in ("appendonly", "appendfsync", "maxmemory-policy"):
            client.config_set(name, before[name])


class Report:
    """The report with these variables, and how the command ended."""

    def __init__(self, **variables: str) -> None:
        self.done = CliRunner().invoke(doctor, ["--json"], env={"PLUMAGE_DEVICE": "cpu", **variables})
        assert self.done.exit_code in (0, 1), self.done.output
        report: dict[str, Any] = json.loads(self.done.stdout)
        assert report["ok"] is (self.done.exit_code == 0)
        self.checks = {check["part"]: check for check in report["checks"]}

    def state(self, part: str) -> str:
        return str(self.checks[part]["state"])

    @property
    def advised(self) -> set[str]:
        """What is not right. Every such check, and no other, has an advice."""
        bad = {part for part, check in self.checks.items() if check["state"] in ("warning", "error")}
        assert bad == {part for part, check in self.checks.items() if check["advice"]}
        return bad


@pytest.fixture
def ask(server: EmbeddedRedis, tmp_path: Path) -> Any:
    def asked(**variables: str) -> Report:
        here = {"PLUMAGE_REDIS_URL": server.url, "PLUMAGE_OBJECTS_URL": (tmp_path / "objects").as_uri()}
        return Report(**here | variables)

    return asked


@pytest.mark.usefixtures("redis")
def test_all_is_well(ask: Any, tmp_path: Path) -> None:
    report = ask()
    assert report.advised == set()
    assert report.done.exit_code == 0
    areas = {part.split(".")[0] for part in report.checks}
    assert areas == {"redis", "objects", "clock", "model", "device", "limits"}
    assert [path for path in (tmp_path / "objects").rglob("*") if path.is_file()] == []


@pytest.mark.usefixtures("redis")
def test_the_users_of_the_roles_are_enough(ask: Any, server: EmbeddedRedis) -> None:
    for role in ("api", "worker"):
        report = ask(PLUMAGE_REDIS_URL=as_role(server.url, role))
        assert report.advised == set()
        assert report.state("redis.fsync") == "skipped"


@pytest.mark.parametrize(
    ("setting", "value", "part", "state"),
    [
        ("appendonly", "no", "redis.aof", "error"),
        ("appendfsync", "everysec", "redis.fsync", "warning"),
        ("maxmemory-policy", "allkeys-lru", "redis.eviction", "error"),
    ],
)
def test_a_setting_of_redis(ask: Any, redis: Redis, setting: str, value: str, part: str, state: str) -> None:
    redis.config_set(setting, value)
    report = ask()
    assert report.advised == {part}
    assert report.state(part) == state


def test_a_replica(ask: Any, redis: Redis) -> None:
    redis.replicaof("127.0.0.1", 1)
    report = ask()
    assert "redis.role" in report.advised
    assert report.state("redis.role") == "error"


def test_a_user_who_may_run_no_scripts(ask: Any, redis: Redis, server: EmbeddedRedis) -> None:
    redis.acl_setuser(
        "weak", enabled=True, passwords=["+worker"], keys=["plumage:*"], commands=["+@all", "-@admin", "-evalsha"]
    )
    report = ask(PLUMAGE_REDIS_URL=server.url.replace("unix://", "unix://weak:worker@"))
    assert report.advised == {"redis.scripts"}


@pytest.mark.usefixtures("redis")
def test_no_redis_and_a_wrong_password(ask: Any, server: EmbeddedRedis) -> None:
    assert ask(PLUMAGE_REDIS_URL="unix:///nowhere/redis.sock").advised == {"redis.reach"}
    refused = ask(PLUMAGE_REDIS_URL=server.url.replace("unix://", "unix://api:wrong@"))
    assert refused.advised == {"redis.reach"}
    assert "password" in refused.checks["redis.reach"]["found"]


@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize(("skew_s", "state"), [(-30.0, "warning"), (300.0, "error")])
def test_a_wrong_clock(ask: Any, monkeypatch: pytest.MonkeyPatch, skew_s: float, state: str) -> None:
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + skew_s)
    report = ask()
    assert report.advised == {"clock"}
    assert report.state("clock") == state


@pytest.mark.usefixtures("redis")
def test_an_object_store_that_cannot_be_written(ask: Any, tmp_path: Path) -> None:
    report = ask(PLUMAGE_OBJECTS_URL="ftp://host/x")
    assert "objects.url" in report.advised
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / "probes").write_text("in the way")
    assert ask().advised == {"objects.write"}


@pytest.mark.usefixtures("redis")
def test_weights_that_cannot_be_used(ask: Any, tmp_path: Path) -> None:
    assert ask(PLUMAGE_MODEL=str(tmp_path / "nowhere")).advised == {"model.files"}
    assert ask(PLUMAGE_MODEL="owner/name").advised == {"model.files"}
    whole = tmp_path / "whole"
    shutil.copytree(MINI, whole)
    weights = whole / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    damaged = ask(PLUMAGE_MODEL=str(whole))
    assert damaged.advised == {"model.files"}
    assert str(weights) in damaged.checks["model.files"]["found"]
    shutil.copy(MINI / "vae" / "diffusion_pytorch_model.safetensors", weights)
    (whole / "unet" / "config.json").write_text("{}")
    assert ask(PLUMAGE_MODEL=str(whole)).state("model.manifest") == "error"
    (whole / "manifest.json").unlink()
    assert ask(PLUMAGE_MODEL=str(whole)).state("model.manifest") == "warning"
    weights.unlink()
    (whole / "model_index.json").unlink()
    assert ask(PLUMAGE_MODEL=str(whole)).advised == {"model.files"}


@pytest.mark.usefixtures("redis")
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there(ask: Any) -> None:
    assert ask(PLUMAGE_DEVICE="cuda").advised == {"device"}


@pytest.mark.usefixtures("redis")
def test_few_open_files(ask: Any) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    try:
        report = ask()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert report.advised == {"limits.open_files"}
    assert report.done.exit_code == 0


@pytest.mark.usefixtures("redis")
def test_a_disk_with_little_space(ask: Any, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        report = ask(PLUMAGE_OBJECTS_URL=(disk / "objects").as_uri())
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
    assert report.advised == {"limits.disk"}


@pytest.mark.usefixtures("redis")
def test_people_read_one_line_for_each_check_and_what_to_do(server: EmbeddedRedis, tmp_path: Path) -> None:
    variables = {"PLUMAGE_REDIS_URL": server.url, "PLUMAGE_MODEL": "owner/name", "PLUMAGE_DEVICE": "cpu"}
    done = CliRunner().invoke(doctor, ["--data-dir", str(tmp_path)], env=variables)
    assert done.exit_code == 1
    (line,) = [line for line in done.output.splitlines() if line.startswith("FAIL")]
    assert line.split()[1] == "model.files"
    assert done.output.count("→") == 1
