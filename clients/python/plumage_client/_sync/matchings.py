"""Find which part of one picture belongs to which part of another, and paint nothing."""

from collections.abc import Mapping
from typing import Any

from plumage_client._sync.jobs import SyncJobs, idempotency
from plumage_client.models import Asset, Matching
from plumage_client.pictures import Picture
from plumage_client.submissions import Besides, body_of


class SyncMatchings(SyncJobs[Matching]):
    """`result` is the map, as NumPy's .npz."""

    def submit(
        self,
        target: Picture | Asset,
        reference: Picture | Asset,
        *,
        target_mask: Picture | Asset | None = None,
        reference_mask: Picture | Asset | None = None,
        pictures: Besides = None,
        masks: Besides = None,
        wait: int = 0,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Matching:
        """Queues a job; `fields` are those of `transfers.submit`, but for `output`."""
        first: Mapping[str, Picture | Asset | None] = {
            "target": target,
            "reference": reference,
            "target_mask": target_mask,
            "reference_mask": reference_mask,
        }
        return self._submit(idempotency(idempotency_key, wait), **body_of(first, pictures, masks, fields))

    def picture(self, job_id: str) -> bytes:
        """The map for people, a PNG."""
        response = self._transport.send("GET", f"{self._at(job_id)}/picture")
        return response.content
