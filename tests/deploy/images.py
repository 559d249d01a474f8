"""What an image would hold, laid out in a folder: the wheel of what its build stage copies, the distributions of its
lock, and nothing else. The interpreter below the virtual environment runs it, so what the image lacks is not there.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection
from importlib.metadata import distribution
from pathlib import Path

from tests.deploy.files import ROOT, Stage

PYTHON = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"


def locked_names(lock: str) -> set[str]:
    """Names in a lock file that are installed on this machine: all but those for other platforms."""
    text = (ROOT / lock).read_text()
    here = {line.partition("==")[0].lower().replace("_", "-") for line in _freeze()}
    return set(re.findall(r"^([a-z0-9._-]+)==", text, re.MULTILINE)) & here


def _freeze() -> list[str]:
    command = [sys.executable, "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"]
    return subprocess.check_output(command, text=True).splitlines()


def install(stage: Stage, folder: Path, *, also: Collection[str] = ()) -> dict[str, str]:
    """Installs in `folder` what `stage` does. Returns the environment in which PYTHON runs it.

    `also` names distributions that the stage installs besides its lock.
    """
    source, site = folder / "source", folder / "site"
    source.mkdir()
    lock = ""
    for names, _ in stage.copies():
        for name in names:
            if name.endswith(".lock"):
                lock = name
            elif (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, source / name)
    flags = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "install", *flags, "--target", str(site), str(source)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for name in locked_names(lock).union(also):
        _link(name, site)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PLUMAGE_"))}
    return {**inherited, "PYTHONPATH": str(site), "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _link(name: str, site: Path) -> None:
    """Makes an installed distribution importable from `site`."""
    found = distribution(name)
    tops = {file.parts[0] for file in found.files or [] if file.parts[0] not in ("..", "__pycache__")}
    for top in tops:
        link = site / top
        if not link.is_symlink():
            link.symlink_to(Path(str(found.locate_file(top))))
