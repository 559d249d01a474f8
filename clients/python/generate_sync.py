"""Makes `plumage_client/_sync` from `plumage_client/_async`: the same code without `async` and `await`.

`python generate_sync.py` writes it; with a folder as argument, there.
"""

import subprocess
import sys
from pathlib import Path

from unasync import Rule, unasync_files

SOURCE = Path(__file__).parent / "plumage_client" / "_async"
STYLE = Path(__file__).parents[2] / "pyproject.toml"
RENAMED = {
    "_async": "_sync",
    "aclose": "close",
    "aclosing": "closing",
    "aiter_lines": "iter_lines",
    "aread": "read",
    "asleep": "sleep",
    "asynchronous": "synchronous",
    "AsyncClient": "Client",
    "AsyncPlumage": "Plumage",
}


def generate(target: Path) -> None:
    target.mkdir(exist_ok=True)
    for old in target.glob("*.py"):
        old.unlink()
    sources = sorted(str(path) for path in SOURCE.glob("*.py"))
    unasync_files(sources, [Rule(str(SOURCE), str(target), RENAMED)])
    note = '"""The synchronous half. Made from `_async` by `generate_sync.py`: change that one."""\n'
    (target / "__init__.py").write_text(note)
    own = 'lint.isort.known-first-party = ["plumage_client"]'  # wherever the target lies
    ruff = [sys.executable, "-m", "ruff", "--config", str(STYLE), "--config", own]
    # Imports come in another order then, and a loop that only yields is a `yield from`.
    subprocess.run([*ruff, "check", "--select=I,UP028", "--fix", "--unsafe-fixes", "--quiet", str(target)], check=True)
    subprocess.run([*ruff, "format", "--quiet", str(target)], check=True)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE.with_name("_sync"))
