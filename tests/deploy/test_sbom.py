"""The bills of materials name what the images are built from."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.files import ROOT


@pytest.fixture(scope="module")
def bills(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("sbom")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run([ROOT / "scripts" / "sbom", folder], env={**os.environ, "PATH": path}, check=True)
    return {image: json.loads((folder / f"{image}.cdx.json").read_text()) for image in ("api", "worker")}


@pytest.mark.parametrize("image", ["api", "worker"])
def test_a_bill_is_the_lock_of_its_image(bills: dict[str, dict[str, Any]], image: str) -> None:
    lock = (ROOT / f"requirements-{image}.lock").read_text().replace("\\\n", " ")
    locked = {
        tuple(line.split(" ")[0].split("==")): set(re.findall(r"--hash=sha256:([0-9a-f]{64})", line))
        for line in lock.splitlines()
    }
    if image == "worker":
        version = re.search(r"^ARG TORCH_VERSION=(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
        assert version
        locked["torch", version[1]] = set()
    listed = {
        (component["name"], component["version"]): {
            found["content"] for reference in component["externalReferences"] for found in reference.get("hashes", [])
        }
        for component in bills[image]["components"]
    }
    assert len(listed) > 20
    assert listed == locked
    assert bills[image]["metadata"]["component"]["name"] == "plumage"
