"""`plumage up`: everything on this machine with one command."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click

from cli.stack.signals import stop_on_signals
from cli.stack.stack import running_stack


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, help="Port to listen on; 0 takes any free one.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Folder of Redis and of the stored pictures.",
)
def up(host: str, port: int, data_dir: Path) -> None:
    """Run Redis, a worker and the API until Ctrl-C."""
    serve_until_stopped(host, port, data_dir, lambda url: f"described at {url}/docs")


def serve_until_stopped(
    host: str, port: int, data_dir: Path, welcome: Callable[[str], str], log_dir: Path | None = None
) -> None:
    """Says when it is ready, with the `welcome` made from the URL. Raises Failed when a part ends by itself.

    The processes log to files in `log_dir`, or to stderr.
    """
    with suppress(KeyboardInterrupt), stop_on_signals():
        with running_stack(host=host, port=port, data_dir=data_dir, log_dir=log_dir) as stack:
            _say(f"starting on {stack.url}")
            stack.wait_ready(_say)
            _say(f"ready on {stack.url}; Ctrl-C stops everything")
            _say(welcome(stack.url))
            stack.serve_forever()


def _say(line: str) -> None:
    click.echo(f"plumage: {line}", err=True)
