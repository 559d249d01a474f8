"""`plumage demo`: the whole service, tried out with one command. `scripts/run` is this after `scripts/install`.

The picture takes the way of every other: HTTP, Redis, a warm worker, the object store, polling.
"""

import json
import os
import shlex
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from cli.errors import BadInput, Failed
from cli.output import check_writable, replace_file
from cli.progress import progress_bar
from cli.stack.client import Record, fetch_result, follow, open_client, submit, what_is_missing
from cli.stack.signals import stop_on_signals
from cli.stack.stack import Stack, running_stack, serve_until_stopped

SAMPLES = Path(__file__).resolve().parents[2] / "docs" / "samples"

PictureFiles = dict[str, Path]
"""By the name of their form field."""


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
    if once:
        repaint_and_report(pictures, out, seed, port or 0)
        return
    chosen = choose_pictures(pictures)
    data_dir = Path("data")
    port = 8000 if port is None else port
    serve_until_stopped("127.0.0.1", port, data_dir, lambda url: commands_to_paste(url, chosen), data_dir / "log")


def choose_pictures(given: Mapping[str, Path | None]) -> PictureFiles:
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


def commands_to_paste(url: str, pictures: PictureFiles) -> str:
    """Shell commands that submit a job, wait for its result and store it."""
    fields = " ".join(f"-F {name}={shlex.quote(f'@{path.resolve()}')}" for name, path in pictures.items())
    transfers = f"{url}/v1/transfers"
    return f"""to repaint the sample, paste in another terminal:

  job=$(curl -fsS {fields} {transfers} | sed 's/.*"id":"\\([^"]*\\)".*/\\1/')
  curl -fs --retry 600 --retry-delay 1 --retry-all-errors -o result.png {transfers}/$job/result

or open {url}/ in a browser. The logs are in data/log."""


def repaint_and_report(pictures: Mapping[str, Path | None], out: Path, seed: int | None, port: int) -> None:
    """Makes one picture and prints one line of JSON, also when that fails."""
    started = time.monotonic()
    try:
        report = repaint_once(choose_pictures(pictures), out, seed, port)
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


def repaint_once(pictures: PictureFiles, out: Path, seed: int | None, port: int) -> dict[str, Any]:
    """Starts a stack in a folder of its own, makes the picture, stops the stack. Returns what is reported."""
    check_writable(out)
    with ExitStack() as exits:
        data_dir = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="plumage-")))
        exits.enter_context(stop_on_signals())
        stack = exits.enter_context(
            running_stack(host="127.0.0.1", port=port, data_dir=data_dir, log_dir=data_dir / "log", webhooks=False)
        )
        started = time.monotonic()
        record, png = repaint(stack, pictures, {} if seed is None else {"seed": str(seed)})
        replace_file(out, png)
        result = record["result"]
    return {
        "id": record["id"],
        "status": record["status"],
        "seconds": round(time.monotonic() - started, 2),
        "seed": result["seed"],
        "model": result["model"],
        "out": str(out),
    }


def repaint(stack: Stack, pictures: PictureFiles, fields: dict[str, str]) -> tuple[Record, bytes]:
    """One transfer over HTTP with a progress bar on stderr. Raises Failed when the job does not succeed."""
    with progress_bar() as bar, open_client(stack.url) as client:

        def show(record: Record) -> None:
            """The job's state, or while it waits, what it waits for."""
            waits_for = what_is_missing(client) if record["status"] == "queued" else None
            bar.show(waits_for or record["status"], record["progress"]["step"], record["progress"]["steps"])

        stack.wait_live()
        bar.describe("sending the pictures")
        record = submit(client, pictures, fields)
        # Submitted before a worker is warm: what the API refuses is known at once, and the queue is there to wait.
        record = follow(client, record, show, stack.require_alive)
        if record["status"] != "succeeded":
            error = record["error"] or {"code": record["status"], "message": f"the job was {record['status']}"}
            raise Failed(error["message"], error["code"])
        return record, fetch_result(client, record)
