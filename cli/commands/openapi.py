"""`plumage openapi`: the committed description of the HTTP API."""

import json
from pathlib import Path

import click

from cli.errors import Failed
from service.app import openapi_document


@click.command()
@click.option("--check", is_flag=True, help="Compare with the file instead of writing it; exit 1 when they differ.")
@click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("openapi/openapi.json"),
    show_default=True,
    help="The committed description.",
)
def openapi(check: bool, file: Path) -> None:
    """Write the OpenAPI description of the HTTP API."""
    text = json.dumps(openapi_document(), indent=2, ensure_ascii=False) + "\n"
    if not check:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        click.echo(f"wrote {file}", err=True)
        return
    committed = file.read_text(encoding="utf-8") if file.is_file() else ""
    if committed != text:
        raise Failed(f"{file} differs from the app; run `plumage openapi` and commit the result")
    click.echo(f"{file} is up to date", err=True)
