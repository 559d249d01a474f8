"""`plumage demo`: the whole service, tried out with one command. `scripts/run` is this after `scripts/install`.

The picture takes the way of every other: HTTP, Redis, a warm worker, the object store, polling.
"""

import json
import os
import shlex
import time
from dataclasses import dataclass
from pathlib import Path

import click

from cli.errors import BadInput, Failed
from cli.up import serve_until_stopped

SAMPLES = Path(__file__).resolve().parent.parent / "docs" / "samples"


@dataclass(frozen=True)
class Pair:
    target: Path
    reference: Path


@click.command()
@click.option("--once", is_flag=True, help="Make one picture, print one line of JSON on stdout and stop.")
@click.option("--target", type=click.Path(path_type=Path), help="Picture that keeps its structure.")
@click.option("--reference", type=click.Path(path_type=Path), help="Picture that gives its appearance.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/result.png"), show_default=True)
@click.option("--seed", type=click.IntRange(0), default=None, help="Same seed, same picture.")
@click.option("--port", default=None, type=int, help="Port of the API.  [default: 8000; any free one with --once]")
def demo(
    once: bool, target: Path | None, reference: Path | None, out: Path, seed: int | None, port: int | None
) -> None:
    """Start everything and repaint a picture over HTTP; sample pictures stand in for files not given."""
    if not once:
        keep_serving(choose_pair(target, reference), 8000 if port is None else port)
        return
    started = time.monotonic()
    try:
        from cli.once import make_one

        pair = choose_pair(target, reference)
        report = make_one(pair.target, pair.reference, out, seed, port or 0)
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


def choose_pair(target: Path | None, reference: Path | None) -> Pair:
    """The pictures given, or the samples of the repository. Raises BadInput when a file cannot be read."""
    if (target is None) != (reference is None):
        raise BadInput("give both --target and --reference, or neither")
    pair = Pair(target or SAMPLES / "bird-target.png", reference or SAMPLES / "bird-reference.png")
    for path in (pair.target, pair.reference):
        if not path.is_file() or not os.access(path, os.R_OK):
            raise BadInput(f"{path} is not a readable file", "file_not_found")
    return pair


def keep_serving(pair: Pair, port: int) -> None:
    """Serves until Ctrl-C, after saying what to try."""
    serve_until_stopped("127.0.0.1", port, Path("data"), lambda url: try_this(url, pair), Path("data/log"))


def try_this(url: str, pair: Pair) -> str:
    """Commands to paste: submit, wait for the result and store it."""
    target, reference = (shlex.quote(f"@{path.resolve()}") for path in (pair.target, pair.reference))
    transfers = f"{url}/v1/transfers"
    return f"""to repaint the sample, paste in another terminal:

  job=$(curl -fsS -F target={target} -F reference={reference} {transfers} | sed 's/.*"id":"\\([^"]*\\)".*/\\1/')
  curl -fs --retry 600 --retry-delay 1 --retry-all-errors -o result.png {transfers}/$job/result

or open {url}/ in a browser. The logs are in data/log."""
