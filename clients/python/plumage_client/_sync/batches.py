"""Many transfers, submitted and looked at as one."""

import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from plumage_client._clock import sleep
from plumage_client._streams import SyncStream
from plumage_client._sync.jobs import idempotency
from plumage_client._sync.transport import SyncTransport
from plumage_client.errors import StillRunning
from plumage_client.models import Asset, Batch, BatchItem, BatchResult
from plumage_client.retries import retry_after_s
from plumage_client.submissions import named_assets

PATH = "/v1/batches"
POLL_S = 5.0
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

    def wait(self, batch_id: str, *, timeout_s: float | None = None) -> Batch:
        """The batch when all of its jobs are over. Raises StillRunning when the time is."""
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        while True:
            response = self._transport.send("GET", _at(batch_id))
            batch = Batch.model_validate_json(response.content)
            if batch.ended:
                return batch
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise StillRunning(batch)
            sleep(min(retry_after_s(response.headers) or POLL_S, left_s))

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


def _at(batch_id: str) -> str:
    return f"{PATH}/{quote(batch_id, safe='')}"
