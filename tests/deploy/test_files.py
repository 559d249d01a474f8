"""Dockerfile and compose file are checked without a Docker engine: by linter and schema, and against the repository."""

import fnmatch
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic_settings import BaseSettings

from checkpoints.settings import ModelSettings
from jobs.settings import JobSettings
from service.settings import ServiceSettings
from tests.deploy.files import ROOT, read_compose, read_stages

BIN = Path(sys.executable).parent
SERVICES = read_compose()["services"]
BUILT = {name: service for name, service in SERVICES.items() if "build" in service}


def run(*command: str) -> None:
    done = subprocess.run([str(BIN / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_finds_nothing() -> None:
    run("hadolint", "Dockerfile")


def test_the_compose_file_fits_its_schema() -> None:
    run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")


def tracked() -> set[str]:
    return set(subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines())


def let_through(path: str) -> bool:
    """Whether `.dockerignore` sends `path` to the builder. Of its syntax, what the file uses."""
    kept = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        negated = pattern.startswith("!")
        pattern = pattern.removeprefix("!").replace("**/", "*")
        parts = path.split("/")
        prefixes = ["/".join(parts[: i + 1]) for i in range(len(parts))]
        if any(fnmatch.fnmatch(prefix, pattern) for prefix in prefixes):
            kept = negated
    return kept


def copied_sources() -> Iterator[str]:
    for stage in read_stages().values():
        for sources, _ in stage.copies():
            yield from sources


@pytest.mark.parametrize("source", sorted(set(copied_sources())))
def test_what_is_copied_is_in_the_repository_and_reaches_the_builder(source: str) -> None:
    files = [path for path in tracked() if path == source or path.startswith(f"{source}/")]
    assert files, f"{source} is not a tracked file or folder"
    assert all(let_through(path) for path in files), source


def test_nothing_else_reaches_the_builder() -> None:
    assert not let_through(".env")
    assert not let_through("data/redis/appendonly.aof")
    assert not let_through(".git/config")
    assert not let_through("core/__pycache__/params.cpython-311.pyc")


@pytest.mark.parametrize("target", ["api", "worker"])
def test_the_images_run_as_nobody_special_and_tell_their_health(target: str) -> None:
    stage = read_stages()[target]
    assert int(stage.last("USER")) >= 10_000
    assert stage.health_command()
    assert stage.last("STOPSIGNAL") == "SIGTERM"


def test_compose_builds_targets_that_exist() -> None:
    assert {service["build"]["target"] for service in BUILT.values()} == {"api", "worker"}
    assert {"api", "worker"} <= set(read_stages())


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "stop_grace_period" in service


@pytest.mark.parametrize("name", ["redis", "objects"])
def test_stores_are_reachable_from_inside_only_and_watched(name: str) -> None:
    assert "ports" not in SERVICES[name]
    assert SERVICES[name]["networks"] == ["backend"]
    assert read_compose()["networks"]["backend"] == {"internal": True}
    assert "healthcheck" in SERVICES[name]


@pytest.mark.parametrize("name", [name for name in sorted(SERVICES) if "build" not in SERVICES[name]])
def test_images_of_others_have_a_full_version(name: str) -> None:
    assert re.search(r":v?\d+\.\d+\.\d+", SERVICES[name]["image"])


def test_the_api_is_published_on_loopback_only() -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["api"]["ports"])


def test_one_gpu_is_reserved_and_there_is_a_profile_without() -> None:
    (device,) = SERVICES["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert SERVICES["worker-cpu"]["profiles"] == ["cpu"]
    assert "deploy" not in SERVICES["worker-cpu"]


def test_files_that_are_mounted_exist() -> None:
    mounts = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    for mount in mounts:
        source = mount.split(":")[0]
        known = (ROOT / source).exists() if source.startswith(".") else source in read_compose()["volumes"]
        assert known, mount


def settings_of(target: str) -> list[type[BaseSettings]]:
    return [JobSettings, ServiceSettings if target == "api" else ModelSettings]


@pytest.mark.parametrize("name", sorted(BUILT))
def test_every_variable_is_a_setting(name: str) -> None:
    """A misspelt variable would be ignored in silence."""
    target = BUILT[name]["build"]["target"]
    known = {f"PLUMAGE_{field}".upper() for settings in settings_of(target) for field in settings.model_fields}
    given = {**read_stages()["base"].environment(), **read_stages()[target].environment(), **BUILT[name]["environment"]}
    assert {variable for variable in given if variable.startswith("PLUMAGE_")} <= known


def test_a_worker_has_time_to_drain() -> None:
    for name in ("worker", "worker-cpu"):
        environment: dict[str, Any] = SERVICES[name]["environment"]
        settings = JobSettings(drain_s=float(environment["PLUMAGE_DRAIN_S"]))
        grace_s = float(SERVICES[name]["stop_grace_period"].removesuffix("s"))
        assert grace_s > settings.drain_s + settings.kill_grace_s


def test_make_env_gives_every_variable_that_compose_demands() -> None:
    written = subprocess.check_output([ROOT / "deploy" / "make-env"], text=True)
    given = dict(line.split("=", 1) for line in written.splitlines() if not line.startswith("#"))
    demanded = set(re.findall(r"\$\{([A-Z0-9_]+):\?", (ROOT / "docker-compose.yml").read_text()))
    assert demanded <= set(given)
    secrets = [value for name, value in given.items() if name.endswith(("PASSWORD", "SECRET_KEY"))]
    assert len(secrets) == 4
    assert len(set(secrets)) == 4
    assert all(len(value) >= 32 for value in secrets)
