"""One line, an exit code, no traceback."""

import click
import pytest
from click.testing import CliRunner

from cli.errors import BadInput, Failed
from cli.main import main
from cli.settings import setting_errors
from jobs.settings import JobSettings


@pytest.mark.parametrize(("error", "code"), [(BadInput("no such file"), 2), (Failed("it broke"), 1)])
def test_errors_are_one_line(error: Failed, code: int) -> None:
    @click.command()
    def broken() -> None:
        raise error

    result = CliRunner().invoke(broken)
    assert result.exit_code == code
    assert result.stderr == f"plumage: {error.message}\n"


def test_a_wrong_setting_is_named_as_its_variable() -> None:
    with pytest.raises(BadInput, match=r"PLUMAGE_LEASE_S: .*greater"), setting_errors():
        JobSettings(lease_s=-1)


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_missing_redis_is_one_line(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLUMAGE_REDIS_URL", raising=False)
    result = CliRunner().invoke(main, [command])
    assert result.exit_code == 2
    assert "PLUMAGE_REDIS_URL" in result.stderr
    assert len(result.stderr.splitlines()) == 1
