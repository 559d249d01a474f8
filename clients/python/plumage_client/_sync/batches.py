"""Many transfers, submitted and looked at as one."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any
from urllib.parse import quote

from plumage_client._streams import SyncStream
from plumage_client._sync.following import SyncFollowing
from plumage_client._sync.jobs import idempotency
from plumage_client._sync.transport import SyncTransport
from plumage_client.errors import StillRunning
from plumage_client.models import Asset, Batch, BatchItem, BatchResult
from plumage_client.submissions import named_assets

PATH = "/v1/batches"
PAGE = 1000


class SyncBatches:
    """Every method raises ApiError when the API refuses, and NoConnection when it cannot be reached."""

    def __init__(self, transport: SyncTransport) -> None:
        self._transport = transport

    def submit(
        self,
        items: Sequence[Mapping[str, Any]],
        *,
        reference: Asset | None = None,
        reference_mask: Asset | None = None,
        pictures: Mapping[str, Asset] | None = None,
        masks: Mapping[str, Asset] | None = None,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Batch:
        """Queues all jobs or none. Each item has a `custom_id` and a `target`, and may have whatever else differs;
        pictures are assets. What regions name is given for all jobs, for some of them, or both. `fields`, of all jobs,
        are those of `transfers.submit`."""
        named = {"pictures": pictures, "masks": masks}
        shared = {"reference": reference, "reference_mask": reference_mask, **named, **fields}
        body = {**named_assets(shared), "items": [named_assets(item) for item in items]}
        response = self._transport.send("POST", PATH, headers=idempotency(idempotency_key), json=body)
        return Batch.model_validate_json(response.content)

    def get(self, batch_id: str) -> Batch:
        return Batch.model_validate_json((self._transport.send("GET", _at(batch_id))).content)

    def follow(self, batch_id: str) -> SyncStream[Batch]:
        """The record at once and whenever it changes, to the final one."""
        with closing(self._following(batch_id).snapshots()) as snapshots:
            yield from snapshots

    def wait(
        self,
        batch_id: str,
        *,
        on_change: Callable[[Batch], object] | None = None,
        timeout_s: float | None = None,
    ) -> Batch:
        """The batch when all of its jobs are over. `on_change` is called with every record on the way. Raises
        StillRunning when the time is over first."""
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        with closing(self._following(batch_id).until(deadline, None)) as snapshots:
            for batch in snapshots:
                if on_change is not None:
                    on_change(batch)
        return batch

    def items(self, batch_id: str, *, status: str | None = None) -> SyncStream[BatchItem]:
        """The state of each job, in the order in which they were given."""
        query: dict[str, str | int] = {"limit": PAGE} | ({"status": status} if status else {})
        response = self._transport.send("GET", f"{_at(batch_id)}/items", params=query)
        for item in response.json()["items"]:
            yield BatchItem.model_validate(item)

    def results(self, batch_id: str) -> SyncStream[BatchResult]:
        """The whole record of each job that is over."""
        response = self._transport.send("GET", f"{_at(batch_id)}/results")
        for line in response.text.splitlines():
            yield BatchResult.model_validate_json(line)

    def cancel(self, batch_id: str) -> Batch:
        """All jobs that are not over. Safe to repeat."""
        return Batch.model_validate_json((self._transport.send("POST", f"{_at(batch_id)}/cancel")).content)

    def delete(self, batch_id: str) -> None:
        """The batch, its jobs and all of their pictures."""
        self._transport.send("DELETE", _at(batch_id))

    def _following(self, batch_id: str) -> SyncFollowing[Batch]:
        return SyncFollowing(self._transport, _at(batch_id), Batch, StillRunning)


def _at(batch_id: str) -> str:
    return f"{PATH}/{quote(batch_id, safe='')}"
