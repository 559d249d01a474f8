"""The little that the command line needs of the HTTP API."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from cli.errors import Failed

Record = dict[str, Any]
TERMINAL = ("succeeded", "failed", "canceled", "expired")


def open_client(url: str) -> httpx.Client:
    """Sends PLUMAGE_API_KEY if there is one. Ignores proxy settings: the stack is on this machine."""
    key = os.environ.get("PLUMAGE_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=url, timeout=30.0, trust_env=False, headers=headers)


def is_live(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz/live").is_success
    except httpx.TransportError:
        return False


def what_is_missing(client: httpx.Client) -> str | None:
    """What is missing before jobs can be run, as one line; None when nothing is."""
    try:
        response = client.get("/healthz/ready")
    except httpx.TransportError:
        return "waiting for the API"
    if response.is_success:
        return None
    try:
        return _describe_problem(response.json())
    except ValueError:
        return f"the API answers {response.status_code}"


def submit(client: httpx.Client, pictures: Mapping[str, Path], fields: Mapping[str, str]) -> Record:
    """Sends a transfer; returns its record. Raises Failed with the API's own code when it is refused."""
    files = {name: (path.name, path.read_bytes()) for name, path in pictures.items()}
    return _json(client.post("/v1/transfers", files=files, data=dict(fields)))


def follow(
    client: httpx.Client, record: Record, on_change: Callable[[Record], None], alive: Callable[[], None]
) -> Record:
    """Polls until the job has ended. `alive` raises when waiting has become pointless."""
    while record["status"] not in TERMINAL:
        time.sleep(0.2)
        alive()
        record = _json(client.get(record["urls"]["self"]))
        on_change(record)
    return record


def fetch_result(client: httpx.Client, record: Record) -> bytes:
    response = client.get(record["urls"]["result"], follow_redirects=True)
    if response.status_code != 200:
        _json(response)
        raise Failed(f"the result came with status {response.status_code}", "result_missing")
    return response.content


def _json(response: httpx.Response) -> Record:
    try:
        body: Record = response.json()
    except ValueError as error:
        raise Failed(f"the API answered {response.status_code} without JSON", "bad_answer") from error
    if response.is_error:
        raise Failed(_describe_problem(body), str(body.get("code", "refused")))
    return body


def _describe_problem(problem: Record) -> str:
    return str(problem.get("detail") or problem.get("title") or problem)
