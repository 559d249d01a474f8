"""The TypeScript client against the running service. Needs Node.js, and `npm install` in `clients/typescript`."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.live import Live

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "clients" / "typescript"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not there"),
    pytest.mark.skipif(
        not (FOLDER / "node_modules").is_dir(), reason="`npm install` has not been run in clients/typescript"
    ),
]


def run(*command: str | Path, **variables: str) -> str:
    environment = {**os.environ, **variables}
    done = subprocess.run(["node", *command], cwd=FOLDER, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_types_are_those_of_the_document(tmp_path: Path) -> None:
    document = ROOT / "openapi" / "openapi.json"
    run("node_modules/openapi-typescript/bin/cli.js", document, "--output", tmp_path / "schema.ts")
    assert (tmp_path / "schema.ts").read_text() == (FOLDER / "src" / "schema.ts").read_text()


def test_against_the_service(live: Live, pictures: tuple[Path, Path]) -> None:
    run("node_modules/typescript/bin/tsc")
    said = run(
        "test/live.mjs",
        *pictures,
        PLUMAGE_URL=live.url,
        PLUMAGE_KEY=live.key("typescript"),
        PLUMAGE_WEBHOOK_SECRET=live.webhook_secret("typescript"),
    )
    names = [
        "transfer",
        "sameKeySameJob",
        "cancelAndDelete",
        "failure",
        "matches",
        "regions",
        "severalSeeds",
        "batch",
        "refusal",
        "webhook",
    ]
    assert said.splitlines() == [f"ok {name}" for name in names]
