"""The short form of every scenario; `plumage faults --full` runs the long ones."""

import sys
from pathlib import Path

import pytest

from tests.faults import scenarios  # noqa: F401  (fills SCENARIOS)
from tests.faults.scenario import SCENARIOS, Scenario, Unavailable, run_in

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_promise_is_kept(scenario: Scenario, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        figures = run_in(tmp_path / "run", scenario, scenario.short)
    except Unavailable as error:
        pytest.skip(str(error))
    assert figures["lost"] == figures["doubled"] == figures["orphans"] == 0
    with capsys.disabled():
        sys.stderr.write(f"\n{scenario.name}: {figures}\n")
