"""`plumage webhook-secrets`: each command, and what the store knows afterwards."""

from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner, Result
from redis import Redis

from cli.main import main
from jobs.settings import JobSettings
from jobs.stores.webhook_secrets import WebhookSecrets


@pytest.fixture
def known(redis: Redis, job_settings: JobSettings, monkeypatch: pytest.MonkeyPatch) -> WebhookSecrets:
    assert job_settings.redis_url is not None
    monkeypatch.setenv("PLUMAGE_REDIS_URL", job_settings.redis_url)
    return WebhookSecrets(redis, job_settings)


def run(command: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["webhook-secrets", command, *arguments], catch_exceptions=False)


def test_a_secret_is_printed_once_and_listed_without_its_secret_part(known: WebhookSecrets) -> None:
    made = run("create", "--tenant", "acme")
    assert made.exit_code == 0, made.output
    [secret] = known.of("acme")
    assert made.stdout.strip() == secret.token
    assert secret.id in made.stderr
    assert secret.token not in made.stderr
    listed = run("list", "--tenant", "acme")
    assert listed.stdout.split()[0] == secret.id
    assert "without end" in listed.stdout
    assert secret.token.removeprefix("whsec_") not in listed.stdout
    assert run("list").stdout == "", "another tenant's"


def test_rotating_lets_the_older_ones_go_on_for_a_while(known: WebhookSecrets) -> None:
    run("create")
    assert run("rotate", "--overlap", "2h").exit_code == 0
    new, old = known.of("local")
    assert new.expires_at is None
    assert old.expires_at is not None
    assert timedelta(hours=1.9) < old.expires_at - datetime.now(UTC) < timedelta(hours=2.1)
    assert run("rotate", "--overlap", "0h").exit_code == 0
    assert len(known.of("local")) == 1


def test_revoking_ends_one_and_tells_when_there_is_none(known: WebhookSecrets) -> None:
    run("create")
    run("create")
    newest, oldest = known.of("local")
    assert run("revoke", oldest.id).exit_code == 0
    assert known.of("local") == [newest]
    for secret_id, tenant in ((oldest.id, "local"), (newest.id, "acme"), ("x", "local")):
        refused = run("revoke", secret_id, "--tenant", tenant)
        assert refused.exit_code == 2
        assert "no webhook secret" in refused.stderr
    assert known.of("local") == [newest]


@pytest.mark.parametrize(
    "arguments", [("create", "--tenant", "a b"), ("rotate", "--overlap", "soon"), ("rotate", "--overlap", "9999d")]
)
def test_what_cannot_be_is_one_line(known: WebhookSecrets, arguments: tuple[str, ...]) -> None:
    refused = run(*arguments)
    assert refused.exit_code == 2
    assert "Traceback" not in refused.stderr
    assert known.of("local") == []
