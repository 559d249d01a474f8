"""Who may import whom, held by import-linter's contracts in pyproject.toml, and by what a fresh process loads."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.architecture.sources import PACKAGES, ROOT

HEAVY = ("torch", "diffusers", "transformers")


def test_every_contract_is_kept() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_package_is_under_contract() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert set(settings["importlinter"]["root_packages"]) == set(PACKAGES)
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert found == set(PACKAGES)


@pytest.mark.parametrize(
    "module",
    ["service", "service.main", "jobs.garbage_collector", "uploads.decoder_pool", "cli.main", "worker.supervisor"],
)
def test_loads_nothing_heavy(module: str) -> None:
    """Also not through a library: the contracts see our imports only."""
    script = f"import sys, {module}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_command_line_loads_no_framework_for_its_help() -> None:
    script = (
        "import sys, cli.main; print(*sorted({'fastapi', 'httpx', 'rich', 'redis', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
