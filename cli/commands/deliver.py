"""`plumage deliver`: the process that sends webhooks."""

import click


@click.command()
def deliver() -> None:
    """Send webhooks until stopped. Any number of these may run.

    Redis comes from PLUMAGE_REDIS_URL; `plumage up` runs one by itself.
    """
    import anyio

    from cli.settings import explained
    from service.webhooks.deliverer import deliver_until_stopped, deliverer

    with explained():
        found = deliverer()
    anyio.run(deliver_until_stopped, found)
