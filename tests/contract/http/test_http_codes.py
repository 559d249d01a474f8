"""The documented table of error codes is the one that the service uses."""

import re
from pathlib import Path

from core.errors import CoreError, TransferCanceled
from service.errors import PROBLEMS

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "errors.md"
CAUSES = [ROOT / "worker" / "tasks.py", ROOT / "worker" / "watchdog.py", ROOT / "jobs" / "stores" / "job_store.py"]
ROW = re.compile(r"^\| `([a-z_]+)` \| (\d{3}) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def test_every_code_is_documented_and_no_other() -> None:
    written = {code: (int(status), title) for code, status, title, _ in ROW.findall(PAGE.read_text())}
    assert written == {code: (kind.status, kind.title) for code, kind in PROBLEMS.items()}


def test_the_reasons_of_failed_jobs_are_documented() -> None:
    page = PAGE.read_text().partition("## Reasons of a failed job")[2]
    raised = {kind.code for kind in CoreError.__subclasses__()} - {TransferCanceled.code}
    raised |= set(re.findall(r'JobError\(code="([a-z_]+)"', "".join(path.read_text() for path in CAUSES)))
    assert raised <= set(re.findall(r"`([a-z_]+)`", page))
