"""One transfer over HTTP by a stack that lives just for it."""

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from cli.errors import Failed
from cli.io import ProgressBar, check_writable, progress_bar, replace_file
from cli.stack.client import fetch_result, follow, open_client, submit, what_is_missing
from cli.stack.signals import stop_on_signals
from cli.stack.stack import Stack, running_stack


def make_one(pictures: dict[str, Path], out: Path, seed: int | None, port: int) -> dict[str, Any]:
    """Starts a stack in a folder of its own, makes the picture, stops the stack. Returns what is reported."""
    check_writable(out)
    with ExitStack() as exits:
        data_dir = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="plumage-")))
        exits.enter_context(stop_on_signals())
        stack = exits.enter_context(
            running_stack(host="127.0.0.1", port=port, data_dir=data_dir, log_dir=data_dir / "log", webhooks=False)
        )
        started = time.monotonic()
        fields = {} if seed is None else {"seed": str(seed)}
        record, png = repaint(stack, pictures, fields)
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


def repaint(stack: Stack, pictures: dict[str, Path], fields: dict[str, str]) -> tuple[dict[str, Any], bytes]:
    """One transfer over HTTP with a progress bar on stderr. Raises Failed when the job does not succeed."""
    with progress_bar() as bar, open_client(stack.url) as client:
        stack.wait_live()
        bar.say("sending the pictures")
        record = submit(client, pictures, fields)
        # Submitted before a worker is warm: what the API refuses is known at once, and the queue is there to wait.
        record = follow(client, record, lambda now: show(bar, client, now), stack.require_alive)
        if record["status"] != "succeeded":
            error = record["error"] or {"code": record["status"], "message": f"the job was {record['status']}"}
            raise Failed(error["message"], error["code"])
        return record, fetch_result(client, record)


def show(bar: ProgressBar, client: httpx.Client, record: dict[str, Any]) -> None:
    """The job's state, or while it waits, what it waits for."""
    waits_for = what_is_missing(client) if record["status"] == "queued" else None
    bar.show(waits_for or record["status"], record["progress"])
