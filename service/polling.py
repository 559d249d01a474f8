"""Looking at a job again: when it pays, whether anything has changed, and waiting for its end."""

import hashlib
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
from anyio.to_thread import run_sync
from fastapi import Response

from jobs.errors import JobGone, JobNotFound, StoreUnavailable
from jobs.schema import Record
from service.schemas.base import ResponseModel

LOOK_EVERY_S = 0.3
WAIT_MAX_S = 60
RETRY_MAX_S = 10
M = TypeVar("M", bound=ResponseModel)
_WAIT = re.compile(r'\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:;.*)?', re.IGNORECASE)
_LINKS: dict[str, Any] = {"result": {"url": True, "matches": {"url"}, "matches_picture": {"url"}, "picture": {"url"}}}


def version(shown: ResponseModel) -> str:
    """An entity tag: differs when anything that a client sees of a job or a batch differs. Of links that is their end:
    signing the same one twice may give two."""
    return hashlib.sha256(shown.model_dump_json(exclude=_LINKS).encode()).hexdigest()[:16]


def matches_tag(if_none_match: str, tag: str) -> bool:
    """Whether an `If-None-Match` has this entity tag, compared weakly."""
    given = (each.strip().removeprefix("W/") for each in if_none_match.split(","))
    return any(each in ("*", f'"{tag}"') for each in given)


def unless_known(shown: M, response: Response, if_none_match: str) -> M | Response:
    """The model under its entity tag, or 304 when the client has it."""
    tag = version(shown)
    response.headers.update({"ETag": f'"{tag}"', "Cache-Control": "private, no-cache"})
    if matches_tag(if_none_match, tag):
        return Response(status_code=304, headers=dict(response.headers))
    return shown


def hint_retry(response: Response, record: Record) -> None:
    """Adds `Retry-After`: soon when the job runs, later far back in the line, never when it is over."""
    if not record.status.terminal:
        response.headers["Retry-After"] = str(max(1, min(RETRY_MAX_S, record.queue_position or 1)))


def preferred_wait_s(prefer: str) -> int:
    """`wait` of a Prefer header (RFC 7240), the first one, at most WAIT_MAX_S; 0 when there is none.

    What a server does not understand of a preference it ignores.
    """
    found = next((match for part in prefer.split(",") if (match := _WAIT.fullmatch(part))), None)
    return min(WAIT_MAX_S, int(found[1])) if found else 0


async def settled(
    record: Record,
    look: Callable[[], Record],
    *,
    wait_s: float,
    stopping: Callable[[], bool],
    left: Callable[[], Awaitable[bool]],
) -> Record:
    """The record when it is final; before that when the time is over, the process stops or the client has left."""
    deadline = time.monotonic() + wait_s
    while not record.status.terminal and not stopping() and not await left():
        pause_s = min(LOOK_EVERY_S, deadline - time.monotonic())
        if pause_s <= 0:
            break
        await anyio.sleep(pause_s)
        try:
            record = await run_sync(look)
        except StoreUnavailable:
            continue  # what is known already is still a good answer
        except (JobNotFound, JobGone):
            break
    return record
