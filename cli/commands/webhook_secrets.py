"""`plumage webhook-secrets`: with what the webhooks of a tenant are signed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.errors import BadInput
from cli.io import read_seconds
from cli.settings import explained
from cli.stack.redis import data_dir_option, opened_redis

if TYPE_CHECKING:
    from jobs.stores.webhook_secrets import WebhookSecret, WebhookSecrets
tenant_option = click.option(
    "--tenant", default="local", show_default=True, help="Whose webhooks. An API without keys knows `local` only."
)


@click.group("webhook-secrets")
def webhook_secrets() -> None:
    """Create, change, list and revoke the secrets that sign webhooks."""


@webhook_secrets.command()
@tenant_option
@data_dir_option
def create(tenant: str, data_dir: Path) -> None:
    """Make a secret and print it. Webhooks are signed with every secret that the tenant has."""
    with _opened(data_dir) as found, explained():
        _tell(found.create(tenant))


@webhook_secrets.command()
@tenant_option
@click.option("--overlap", default="24h", show_default=True, help="How long the older secrets go on, such as 0h or 7d.")
@data_dir_option
def rotate(tenant: str, overlap: str, data_dir: Path) -> None:
    """Make a secret that takes the place of all others, print it, and let the others go on for a while."""
    overlap_s = read_seconds(overlap)
    with _opened(data_dir) as found, explained():
        _tell(found.create(tenant, overlap_s=overlap_s))


@webhook_secrets.command("list")
@tenant_option
@data_dir_option
def list_secrets(tenant: str, data_dir: Path) -> None:
    """Print a tenant's secrets, newest first, without the secret part."""
    with _opened(data_dir) as found:
        for secret in found.of(tenant):
            click.echo(_line(secret))


@webhook_secrets.command()
@click.argument("secret_id", metavar="ID")
@tenant_option
@data_dir_option
def revoke(secret_id: str, tenant: str, data_dir: Path) -> None:
    """Sign nothing with this secret any more."""
    from jobs.errors import SecretUnknown

    with _opened(data_dir) as found:
        try:
            found.revoke(tenant, secret_id)
        except SecretUnknown as error:
            raise BadInput(str(error), error.code) from error
    click.echo(f"plumage: secret {secret_id} is revoked", err=True)


@contextmanager
def _opened(data_dir: Path) -> Iterator["WebhookSecrets"]:
    from jobs.stores.webhook_secrets import WebhookSecrets

    with opened_redis(data_dir) as (redis, settings):
        yield WebhookSecrets(redis, settings)


def _tell(secret: "WebhookSecret") -> None:
    click.echo(secret.token)
    click.echo(f"plumage: secret {_line(secret)}", err=True)


def _line(secret: "WebhookSecret") -> str:
    ends = f"until {secret.expires_at:%Y-%m-%d %H:%M} UTC" if secret.expires_at else "without end"
    return f"{secret.id}  since {secret.created_at:%Y-%m-%d %H:%M} UTC  {ends}"
