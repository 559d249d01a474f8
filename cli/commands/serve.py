"""`plumage serve`: the HTTP API alone. Loads no torch."""

import socket

import click

from cli.settings import setting_errors
from service.main import app, server


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, help="Port to listen on.")
@click.option("--fd", type=int, default=None, hidden=True, help="Listening socket inherited from the parent.")
def serve(host: str, port: int, fd: int | None) -> None:
    """Run the HTTP API. Redis and the object store come from PLUMAGE_REDIS_URL and PLUMAGE_OBJECTS_URL."""
    with setting_errors():
        http_server = server(app(host), host, port)
    http_server.run(None if fd is None else [socket.socket(fileno=fd)])
