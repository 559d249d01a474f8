"""What can be done with jobs of one kind."""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any, Generic, TypeVar
from urllib.parse import quote
from uuid import uuid4

from plumage_client._streams import SyncStream
from plumage_client._sync.following import SyncFollowing
from plumage_client._sync.transport import SyncTransport
from plumage_client.errors import TimedOut, end_of
from plumage_client.models import Job

J = TypeVar("J", bound=Job)
PAGE = 100


def idempotency(key: str | None, wait: int = 0) -> dict[str, str]:
    """Headers of a submission. Without a key one is made, so that its retries queue one job."""
    headers = {"Idempotency-Key": key or str(uuid4())}
    return headers | {"Prefer": f"wait={wait}"} if wait else headers


class SyncJobs(Generic[J]):
    """Every method raises ApiError when the API refuses, and NoConnection when it cannot be reached."""

    def __init__(self, transport: SyncTransport, path: str, model: type[J]) -> None:
        self._transport = transport
        self._path = path
        self._model = model

    def get(self, job_id: str) -> J:
        return self._read(self._transport.send("GET", self._at(job_id)))

    def list(self, *, status: str | None = None) -> SyncStream[J]:
        """All jobs, newest first, fetched page by page while they are taken."""
        query: dict[str, str | int] = {"limit": PAGE} | ({"status": status} if status else {})
        while True:
            response = self._transport.send("GET", self._path, params=query)
            page = response.json()
            for item in page["items"]:
                yield self._model.model_validate(item)
            if page["next"] is None:
                return
            query["cursor"] = page["next"]

    def cancel(self, job_id: str) -> J:
        """Safe to repeat; a job that is over stays as it is."""
        return self._read(self._transport.send("POST", f"{self._at(job_id)}/cancel"))

    def retry(self, job_id: str, *, idempotency_key: str | None = None) -> J:
        """A new job that does what this one should have done."""
        headers = idempotency(idempotency_key)
        return self._read(self._transport.send("POST", f"{self._at(job_id)}/retry", headers=headers))

    def delete(self, job_id: str) -> None:
        """Record, pictures and results are gone."""
        self._transport.send("DELETE", self._at(job_id))

    def follow(self, job_id: str) -> SyncStream[J]:
        """The record at once and whenever it changes, to the final one."""
        with closing(self._following(job_id).snapshots()) as snapshots:
            yield from snapshots

    def wait(self, job: J, *, on_change: Callable[[J], object] | None = None, timeout_s: float | None = None) -> J:
        """The final record of a job that succeeded.

        `on_change` is called with every record on the way. Raises JobFailed, JobCanceled, JobExpired and TimedOut
        besides; a job that one stops waiting for goes on.
        """
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        with closing(self._following(job.id).until(deadline, job)) as snapshots:
            for job in snapshots:
                if on_change is not None:
                    on_change(job)
        if not job.succeeded:
            raise end_of(job)
        return job

    def result(self, job_id: str) -> bytes:
        """The finished file."""
        return self._file(job_id, "result")

    def preview(self, job_id: str) -> bytes:
        """The latest preview of a running job, a JPEG. Raises Conflict while there is none."""
        response = self._transport.send("GET", f"{self._at(job_id)}/preview")
        return response.content

    def _file(self, job_id: str, name: str, seed: int | None = None) -> bytes:
        query = {} if seed is None else {"seed": seed}
        path = f"{self._at(job_id)}/{name}"
        return (self._transport.send("GET", path, params=query, follow_redirects=True)).content

    def _submit(self, headers: Mapping[str, str], **body: Any) -> J:
        return self._read(self._transport.send("POST", self._path, headers=headers, **body))

    def _following(self, job_id: str) -> SyncFollowing[J]:
        return SyncFollowing(self._transport, self._at(job_id), self._model, TimedOut)

    def _read(self, response: Any) -> J:
        return self._model.model_validate_json(response.content)

    def _at(self, job_id: str) -> str:
        return f"{self._path}/{quote(job_id, safe='')}"
