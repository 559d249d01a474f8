"""The curl lines of the README, one by one, as somebody would type them."""

import json
import re
import shutil
import subprocess
import time
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from tests.live import Live
from tests.pictures import SIZE, decoded, encoded, gradient

ROOT = Path(__file__).parents[2]
STANDARD = "http://127.0.0.1:8000"


def curls(page: str) -> list[str]:
    text = (ROOT / page).read_text().replace("\\\n", "")
    return [line for line in text.splitlines() if line.startswith("curl ")]


pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not there")


def test_the_lines_of_the_readme(live: Live, pictures: tuple[Path, Path], tmp_path: Path) -> None:
    for path, name in zip(pictures, ("A.jpg", "B.jpg"), strict=True):
        path.rename(tmp_path / name)
    names = {f"{name}_ID": sha256((tmp_path / f"{name}.jpg").read_bytes()).hexdigest() for name in "AB"}
    lines = curls("README.md")
    assert len(lines) >= 3
    for line in lines:
        said = run(live, tmp_path, re.sub(r"\b(A_|B_)?ID\b", lambda found: names[found[0]], line))
        if "-F target=" in line:
            record = json.loads(said)
            names["ID"] = record["id"]
            wait_for(live, record["urls"]["self"])
    assert decoded((tmp_path / "result.png").read_bytes()).size == decoded((tmp_path / "A.jpg").read_bytes()).size


def test_the_lines_about_regions(live: Live, tmp_path: Path) -> None:
    """As a form and, from the same page, as JSON that names the same pictures as assets."""
    ids = {}
    half = Image.new("L", SIZE, 0)
    half.paste(255, (0, 0, SIZE[0] // 2, SIZE[1]))
    masks = {"left.png": half, "right.png": ImageOps.invert(half)}
    pictures = {name: gradient() for name in ("scene.jpg", "bird.jpg", "leaf.jpg")}
    for name, picture in (pictures | masks).items():
        data = encoded(picture, "JPEG" if name.endswith("jpg") else "PNG")
        (tmp_path / name).write_bytes(data)
        said = run(live, tmp_path, f"curl -F file=@{name} {STANDARD}/v1/assets")
        ids[f"{Path(name).stem.upper()}_ID"] = json.loads(said)["id"]
    as_json = (ROOT / "docs" / "regions.md").read_text().partition("```json\n")[2].partition("```")[0]
    (tmp_path / "job.json").write_text(re.sub(r"\b[A-Z]+_ID\b", lambda found: ids[found[0]], as_json))
    *lines, second = curls("docs/regions.md")
    form, named, several = (json.loads(run(live, tmp_path, line)) for line in lines)
    assert form["params"] == named["params"]
    for job in (form, named, several):
        wait_for(live, job["urls"]["self"])
    run(live, tmp_path, re.sub(r"\bID\b", several["id"], second))
    assert decoded((tmp_path / "second.png").read_bytes()).size == SIZE


def run(live: Live, folder: Path, line: str) -> str:
    """What the line says, as the user `curl`."""
    assert STANDARD in line
    config = f'header = "Authorization: Bearer {live.key("curl")}"\nfail-with-body\nsilent\nshow-error\n'
    (folder / ".curlrc").write_text(config)
    command = ["bash", "-c", line.replace(STANDARD, live.url)]
    done = subprocess.run(command, cwd=folder, env={"CURL_HOME": str(folder)}, capture_output=True, text=True)
    assert done.returncode == 0, (line, done.stdout, done.stderr)
    return done.stdout


def wait_for(live: Live, path: str) -> None:
    with live.client("curl") as http:
        deadline = time.monotonic() + 60
        while http.get(path).json()["status"] != "succeeded":
            assert time.monotonic() < deadline
            time.sleep(0.1)
