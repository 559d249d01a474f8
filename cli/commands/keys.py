"""`plumage keys`: who may call an API that asks for keys."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from cli.errors import BadInput
from cli.options import read_seconds
from cli.settings import setting_errors
from cli.stack.redis import open_redis, redis_folder_option
from jobs.errors import KeyUnknown
from jobs.stores.api_keys import ApiKey, ApiKeys, Scope

SCOPES = ("submit", "read", "admin")


@click.group()
def keys() -> None:
    """Create, list and revoke API keys."""


@keys.command()
@click.option("--tenant", required=True, help="Whose jobs the key sees: letters, digits, '-' and '_'.")
@click.option("--scope", "scopes", type=click.Choice(SCOPES), multiple=True, help="[default: submit and read]")
@click.option("--label", default="", help="For people: who has the key.")
@click.option("--expires-in", "lifetime", help="Such as 12h or 90d. [default: never]")
@redis_folder_option
def create(tenant: str, scopes: tuple[str, ...], label: str, lifetime: str | None, data_dir: Path) -> None:
    """Make a key and print it. It cannot be shown again."""
    granted = [Scope(name) for name in scopes or SCOPES[:2]]
    ttl_s = None if lifetime is None else read_seconds(lifetime)
    with open_keys(data_dir) as api_keys, setting_errors():
        token, key = api_keys.create(tenant, granted, label=label, ttl_s=ttl_s)
    click.echo(token)
    click.echo(f"plumage: key {_line(key)}", err=True)


@keys.command("list")
@redis_folder_option
def list_keys(data_dir: Path) -> None:
    """Print all keys that can be used, without their secrets."""
    with open_keys(data_dir) as api_keys:
        for key in api_keys.list_keys():
            click.echo(_line(key))


@keys.command()
@click.argument("key_id", metavar="ID")
@redis_folder_option
def revoke(key_id: str, data_dir: Path) -> None:
    """Make a key useless, from the next request on."""
    with open_keys(data_dir) as api_keys:
        try:
            api_keys.revoke(key_id)
        except KeyUnknown as error:
            raise BadInput(str(error), "key_unknown") from error
    click.echo(f"plumage: key {key_id} is revoked", err=True)


@contextmanager
def open_keys(data_dir: Path) -> Iterator[ApiKeys]:
    with open_redis(data_dir) as (redis, settings):
        yield ApiKeys(redis, settings)


def _line(key: ApiKey) -> str:
    ends = f"until {key.expires_at:%Y-%m-%d %H:%M} UTC" if key.expires_at else "without end"
    return "  ".join((key.id, key.tenant, ",".join(sorted(key.scopes)), ends, key.label)).rstrip()
