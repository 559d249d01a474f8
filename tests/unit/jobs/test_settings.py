"""Settings reach a child process unchanged."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from jobs.settings import JobSettings


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("PLUMAGE_"):
            monkeypatch.delenv(name)


def test_a_child_reads_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = JobSettings(
        redis_url="redis://:s3cret@host/1", data_dir=Path("a b"), lease_s=2.5, max_queued=7, retention_s=60
    )
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert JobSettings() == settings


def test_an_empty_variable_is_an_absent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUMAGE_OBJECTS_URL", "")
    monkeypatch.setenv("PLUMAGE_LEASE_S", "")
    assert JobSettings() == JobSettings(objects_url=None)


@pytest.mark.parametrize(
    ("name", "value"), [("LEASE_S", "0"), ("MAX_QUEUED", "many"), ("PREFIX", "a:b"), ("MAX_ATTEMPTS", "-1")]
)
def test_a_wrong_value_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"PLUMAGE_{name}", value)
    with pytest.raises(ValidationError):
        JobSettings()
