"""`plumage webhook-secrets`: with what the webhooks of a tenant are signed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from cli.errors import BadInput
from cli.options import read_seconds
from cli.settings import setting_errors
from cli.stack.redis import open_redis, redis_folder_option
from jobs.errors import SecretUnknown
from jobs.stores.webhook_secrets import WebhookSecret, WebhookSecrets

tenant_option = click.option(
    "--tenant", default="local", show_default=True, help="Whose webhooks. An API without keys knows `local` only."
)


@click.group("webhook-secrets")
def webhook_secrets() -> None:
    """Create, change, list and revoke the secrets that sign webhooks."""


@webhook_secrets.command()
@tenant_option
@redis_folder_option
def create(tenant: str, data_dir: Path) -> None:
    """Make a secret and print it. Webhooks are signed with every secret that the tenant has."""
    with open_secrets(data_dir) as secrets, setting_errors():
        print_secret(secrets.create(tenant))


@webhook_secrets.command()
@tenant_option
@click.option("--overlap", default="24h", show_default=True, help="How long the older secrets go on, such as 0h or 7d.")
@redis_folder_option
def rotate(tenant: str, overlap: str, data_dir: Path) -> None:
    """Make a secret that takes the place of all others, print it, and let the others go on for a while."""
    overlap_s = read_seconds(overlap)
    with open_secrets(data_dir) as secrets, setting_errors():
        print_secret(secrets.create(tenant, overlap_s=overlap_s))


@webhook_secrets.command("list")
@tenant_option
@redis_folder_option
def list_secrets(tenant: str, data_dir: Path) -> None:
    """Print a tenant's secrets, newest first, without the secret part."""
    with open_secrets(data_dir) as secrets:
        for secret in secrets.of(tenant):
            click.echo(_line(secret))


@webhook_secrets.command()
@click.argument("secret_id", metavar="ID")
@tenant_option
@redis_folder_option
def revoke(secret_id: str, tenant: str, data_dir: Path) -> None:
    """Sign nothing with this secret any more."""
    with open_secrets(data_dir) as secrets:
        try:
            secrets.revoke(tenant, secret_id)
        except SecretUnknown as error:
            raise BadInput(str(error), error.code) from error
    click.echo(f"plumage: secret {secret_id} is revoked", err=True)


@contextmanager
def open_secrets(data_dir: Path) -> Iterator[WebhookSecrets]:
    with open_redis(data_dir) as (redis, settings):
        yield WebhookSecrets(redis, settings)


def print_secret(secret: WebhookSecret) -> None:
    """The secret on stdout, and on stderr what may be shown again."""
    click.echo(secret.token)
    click.echo(f"plumage: secret {_line(secret)}", err=True)


def _line(secret: WebhookSecret) -> str:
    ends = f"until {secret.expires_at:%Y-%m-%d %H:%M} UTC" if secret.expires_at else "without end"
    return f"{secret.id}  since {secret.created_at:%Y-%m-%d %H:%M} UTC  {ends}"
