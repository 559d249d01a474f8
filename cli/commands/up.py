"""`plumage up`: everything on this machine with one command."""

from pathlib import Path

import click

from cli.options import data_dir_option
from cli.stack.stack import serve_until_stopped


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, help="Port to listen on; 0 takes any free one.")
@data_dir_option("Folder of Redis and of the stored pictures.")
def up(host: str, port: int, data_dir: Path) -> None:
    """Run Redis, a worker and the API until Ctrl-C."""
    serve_until_stopped(host, port, data_dir, lambda url: f"described at {url}/docs")
