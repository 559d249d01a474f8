"""`plumage demo`: the whole service, tried out with one command. `scripts/run` is this after `scripts/install`.

The picture takes the way of every other: HTTP, Redis, a warm worker, the object store, polling.
"""

import json
import os
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from cli.errors import BadInput, Failed
from cli.signals import stop_on_signals
from cli.stack import Stack, running_stack

SAMPLES = Path(__file__).resolve().parent.parent / "docs" / "samples"
READY_TIMEOUT_S = 900.0
"""Loading full-size weights from a slow disk takes minutes."""


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
        report = make_one(choose_pair(target, reference), out, seed, port or 0)
    except (Failed, KeyboardInterrupt) as error:
        failure = error if isinstance(error, Failed) else Failed("stopped by a signal", "interrupted")
        seconds = round(time.monotonic() - started, 2)
        line = {"id": None, "status": "failed", "seconds": seconds, "seed": seed, "model": None, "out": None}
        click.echo(json.dumps(line | {"error": {"code": failure.code, "message": failure.message}}))
        raise failure from error
    click.echo(json.dumps(report))


def choose_pair(target: Path | None, reference: Path | None) -> Pair:
    """The pictures given, or the samples of the repository. Raises BadInput when a file cannot be read."""
    if (target is None) != (reference is None):
        raise BadInput("give both --target and --reference, or neither")
    pair = Pair(target or SAMPLES / "bird_target.png", reference or SAMPLES / "bird_reference.png")
    for path in (pair.target, pair.reference):
        if not path.is_file() or not os.access(path, os.R_OK):
            raise BadInput(f"{path} is not a readable file", "file_not_found")
    return pair


def make_one(pair: Pair, out: Path, seed: int | None, port: int) -> dict[str, Any]:
    """Starts a stack in a folder of its own, makes the picture, stops the stack. Returns what is reported."""
    from cli.output import check_writable, replace_file

    check_writable(out)
    with ExitStack() as exits:
        data_dir = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="plumage-")))
        exits.enter_context(stop_on_signals())
        stack = exits.enter_context(running_stack(host="127.0.0.1", port=port, data_dir=data_dir, log_to_file=True))
        started = time.monotonic()
        record, png = repaint(stack, pair, {} if seed is None else {"seed": str(seed)})
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


def repaint(stack: Stack, pair: Pair, fields: dict[str, str]) -> tuple[dict[str, Any], bytes]:
    """One transfer over HTTP with a progress bar on stderr. Raises Failed when the job does not succeed."""
    from cli.client import fetch_result, follow, open_client, submit
    from cli.progress import progress_bar

    with progress_bar() as bar, open_client(stack.url) as client:
        stack.wait_ready(bar.say, READY_TIMEOUT_S)
        bar.say("sending the pictures")
        record = submit(client, {"target": pair.target, "reference": pair.reference}, fields)
        record = follow(client, record, lambda now: bar.show(now["status"], now["progress"]), stack.require_alive)
        if record["status"] != "succeeded":
            error = record["error"] or {"code": record["status"], "message": f"the job was {record['status']}"}
            raise Failed(error["message"], error["code"])
        return record, fetch_result(client, record)


def keep_serving(pair: Pair, port: int) -> None:
    """Serves until Ctrl-C, after saying what to try."""
    from cli.up import serve_until_stopped

    serve_until_stopped("127.0.0.1", port, Path("data"), lambda url: try_this(url, pair))


def try_this(url: str, pair: Pair) -> str:
    """A command to paste: submits the pair, waits for the result and stores it."""
    return "\n".join(
        [
            "try, in another terminal:",
            "",
            f"  curl -fsS -F target=@{pair.target} -F reference=@{pair.reference} {url}/v1/transfers",
            "",
        ]
    )
