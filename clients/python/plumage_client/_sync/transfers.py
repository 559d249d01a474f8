"""Repaint one picture with the appearance of another."""

from collections.abc import Mapping
from typing import Any

from plumage_client._sync.jobs import SyncJobs, idempotency
from plumage_client.models import Transfer
from plumage_client.pictures import Picture
from plumage_client.submissions import form_of


class SyncTransfers(SyncJobs[Transfer]):
    def submit(
        self,
        target: Picture,
        reference: Picture,
        *,
        target_mask: Picture | None = None,
        reference_mask: Picture | None = None,
        prompt: str | None = None,
        negative_prompt: str | None = None,
        seed: int | None = None,
        params: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
        deadline: int | None = None,
        ttl: int | None = None,
        wait: int = 0,
        idempotency_key: str | None = None,
    ) -> Transfer:
        """Queues a job that paints `target` with the appearance of `reference`; returns its record.

        `deadline`, `ttl` and `wait` are seconds; with `wait`, at most 60, the answer may take that long if the job
        ends meanwhile. Submitting again with the same `idempotency_key` finds the first job. Raises OSError for a
        file that cannot be read.
        """
        pictures = {
            "target": target,
            "reference": reference,
            "target_mask": target_mask,
            "reference_mask": reference_mask,
        }
        fields = {
            "prompt": prompt,
            "negative_prompt": negative_prompt,
            "seed": seed,
            "params": params,
            "metadata": metadata,
            "deadline": deadline,
            "ttl": ttl,
        }
        return self._submit(idempotency(idempotency_key, wait), **form_of(pictures, fields))
