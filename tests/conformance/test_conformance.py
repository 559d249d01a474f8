"""A short run of Schemathesis; `python -m tests.conformance.run` is the long one."""

import sys
from pathlib import Path

import pytest

from tests.conformance.run import schemathesis
from tests.live import running_service

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="its processes end with it")]


def test_the_service_does_what_its_document_says(tmp_path: Path) -> None:
    with running_service(tmp_path) as live:
        status, said = schemathesis(live, tmp_path, examples=3, seed=1)
        assert status == 0, said
    assert "Coverage (in" in said
    assert "Stateful (in" in said
