"""The curl lines of the README, one by one, as somebody would type them."""

import json
import re
import shutil
import subprocess
import time
from hashlib import sha256
from pathlib import Path

import pytest

from tests.live import Live
from tests.pictures import decoded

README = Path(__file__).parents[2] / "README.md"
LINES = [line for line in README.read_text().replace("\\\n", "").splitlines() if line.startswith("curl ")]
STANDARD = "http://127.0.0.1:8000"

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not there")


def test_the_lines_of_the_readme(live: Live, pictures: tuple[Path, Path], tmp_path: Path) -> None:
    for path, name in zip(pictures, ("A.jpg", "B.jpg"), strict=True):
        path.rename(tmp_path / name)
    names = {f"{name}_ID": sha256((tmp_path / f"{name}.jpg").read_bytes()).hexdigest() for name in "AB"}
    key = live.key("curl")
    (tmp_path / ".curlrc").write_text(f'header = "Authorization: Bearer {key}"\nfail-with-body\nsilent\nshow-error\n')
    assert len(LINES) >= 3
    for line in LINES:
        assert STANDARD in line
        command = re.sub(r"\b(A_|B_)?ID\b", lambda found: names[found[0]], line.replace(STANDARD, live.url))
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env={"CURL_HOME": str(tmp_path)}, capture_output=True, text=True
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        if "-F target=" in line:
            record = json.loads(done.stdout)
            names["ID"] = record["id"]
            wait_for(live, record["urls"]["self"])
    assert decoded((tmp_path / "result.png").read_bytes()).size == decoded((tmp_path / "A.jpg").read_bytes()).size


def wait_for(live: Live, path: str) -> None:
    with live.client("curl") as http:
        deadline = time.monotonic() + 60
        while http.get(path).json()["status"] != "succeeded":
            assert time.monotonic() < deadline
            time.sleep(0.1)
