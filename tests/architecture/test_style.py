"""Rules of style that can be counted."""

import ast
import os
import re
from pathlib import Path

import pytest

from tests.architecture.sources import PACKAGES, ROOT, name_of, python_files, tracked_files

LONGEST_FILE = 500
LONGEST_TEST_FILE = 600
LONGEST_FUNCTION = 60
VAGUE = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc", "v2", "final"}
LOCAL_TRACES = re.compile(
    r"files\.pythonhosted|pypi\.org|registry\.npmjs|file:///opt|/root/|/home/[a-z]+/|(?<![\w.])/work/"
)
TEXT = {".py", ".md", ".toml", ".lock", ".yml", ".yaml", ".json", ".conf", ".html", ".css", ".js", ".lua", ".txt", ""}


@pytest.mark.parametrize("path", python_files(), ids=name_of)
def test_no_file_and_no_function_is_long(path: Path) -> None:
    text = path.read_text()
    longest = LONGEST_TEST_FILE if name_of(path).startswith("tests/") else LONGEST_FILE
    assert len(text.splitlines()) <= longest
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = [f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 > LONGEST_FUNCTION]
    assert long == []


def test_files_say_what_they_do() -> None:
    vague = [name_of(path) for path in tracked_files() if VAGUE & set(re.split(r"[_.-]", path.stem.lower()))]
    assert vague == []


@pytest.mark.parametrize(
    "name", [".ci/run", *(name_of(path) for path in tracked_files() if path.parent == ROOT / "scripts")]
)
def test_scripts_can_be_run(name: str) -> None:
    path = ROOT / name
    assert os.access(path, os.X_OK)
    assert path.read_text().startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in path.read_text()


def test_nothing_tells_on_which_machine_it_was_made() -> None:
    """No package index's host and no absolute path of some machine: the repository works anywhere."""
    own = ROOT / "tests" / "architecture" / "test_style.py"
    texts = [path for path in tracked_files() if path.suffix in TEXT and path != own]
    traces = [name_of(path) for path in texts if LOCAL_TRACES.search(path.read_text(errors="replace"))]
    assert traces == []


def test_packages_have_docstrings() -> None:
    bare = [
        name_of(path)
        for path in python_files(*PACKAGES)
        if path.read_text().strip() and ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert bare == []
