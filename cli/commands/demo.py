"""`plumage demo`: the whole service, tried out with one command. `scripts/run` is this after `scripts/install`.

The picture takes the way of every other: HTTP, Redis, a warm worker, the object store, polling.
"""

import json
import os
import shlex
import time
from collections.abc import Mapping
from pathlib import Path

import click

from cli.commands.up import serve_until_stopped
from cli.errors import BadInput, Failed

SAMPLES = Path(__file__).resolve().parents[2] / "docs" / "samples"

Pictures = dict[str, Path]
"""Files by the name of their form field."""


@click.command()
@click.option("--once", is_flag=True, help="Make one picture, print one line of JSON on stdout and stop.")
@click.option("--target", type=click.Path(path_type=Path), help="Picture that keeps its structure.")
@click.option("--reference", type=click.Path(path_type=Path), help="Picture that gives its appearance.")
@click.option("--target-mask", type=click.Path(path_type=Path), help="White where the target is repainted.")
@click.option("--reference-mask", type=click.Path(path_type=Path), help="White where appearance is taken from.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/result.png"), show_default=True)
@click.option("--seed", type=click.IntRange(0), default=None, help="Same seed, same picture.")
@click.option("--port", default=None, type=int, help="Port of the API.  [default: 8000; any free one with --once]")
def demo(once: bool, out: Path, seed: int | None, port: int | None, **pictures: Path | None) -> None:
    """Start everything and repaint a picture over HTTP; sample pictures stand in for files not given."""
    if not once:
        keep_serving(choose_pictures(pictures), 8000 if port is None else port)
        return
    started = time.monotonic()
    try:
        from cli.stack.once import make_one

        report = make_one(choose_pictures(pictures), out, seed, port or 0)
    except (Failed, KeyboardInterrupt) as error:
        failure = error if isinstance(error, Failed) else Failed("stopped by a signal", "interrupted")
        report_failure(failure, started, seed)
        raise failure from error
    except Exception as error:  # a fault of ours: its traceback is wanted, and so is the line
        report_failure(Failed(f"{type(error).__name__}: {error}", "internal_error"), started, seed)
        raise
    click.echo(json.dumps(report))


def report_failure(failure: Failed, started: float, seed: int | None) -> None:
    seconds = round(time.monotonic() - started, 2)
    line = {"id": None, "status": "failed", "seconds": seconds, "seed": seed, "model": None, "out": None}
    click.echo(json.dumps(line | {"error": {"code": failure.code, "message": failure.message}}))


def choose_pictures(given: Mapping[str, Path | None]) -> Pictures:
    """The pictures given, or the sample of the repository. Raises BadInput when a file cannot be read."""
    pictures = {name: path for name, path in given.items() if path is not None}
    if not pictures:
        names = ("target", "reference", "target_mask", "reference_mask")
        pictures = {name: SAMPLES / f"bird-{name.replace('_', '-')}.png" for name in names}
    if not {"target", "reference"} <= set(pictures):
        raise BadInput("give both --target and --reference, or neither")
    for path in pictures.values():
        if not path.is_file() or not os.access(path, os.R_OK):
            raise BadInput(f"{path} is not a readable file", "file_not_found")
    return pictures


def keep_serving(pictures: Pictures, port: int) -> None:
    """Serves until Ctrl-C, after saying what to try."""
    serve_until_stopped("127.0.0.1", port, Path("data"), lambda url: try_this(url, pictures), Path("data/log"))


def try_this(url: str, pictures: Pictures) -> str:
    """Commands to paste: submit, wait for the result and store it."""
    fields = " ".join(f"-F {name}={shlex.quote(f'@{path.resolve()}')}" for name, path in pictures.items())
    transfers = f"{url}/v1/transfers"
    return f"""to repaint the sample, paste in another terminal:

  job=$(curl -fsS {fields} {transfers} | sed 's/.*"id":"\\([^"]*\\)".*/\\1/')
  curl -fs --retry 600 --retry-delay 1 --retry-all-errors -o result.png {transfers}/$job/result

or open {url}/ in a browser. The logs are in data/log."""
