"""`plumage deliver`: the process that sends webhooks."""

import anyio
import click

from cli.settings import setting_errors
from service.webhooks.deliverer import deliver_until_stopped, deliverer


@click.command()
def deliver() -> None:
    """Send webhooks until stopped. Any number of these may run.

    Redis comes from PLUMAGE_REDIS_URL; `plumage up` runs one by itself.
    """
    with setting_errors():
        configured = deliverer()
    anyio.run(deliver_until_stopped, configured)
