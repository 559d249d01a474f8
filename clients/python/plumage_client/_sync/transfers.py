"""Repaint one picture with the appearance of another."""

from collections.abc import Mapping, Sequence
from typing import Any

from plumage_client._sync.jobs import SyncJobs, idempotency
from plumage_client.models import Asset, Transfer
from plumage_client.pictures import Picture
from plumage_client.submissions import Besides, body_of


class SyncTransfers(SyncJobs[Transfer]):
    def submit(
        self,
        target: Picture | Asset,
        reference: Picture | Asset,
        *,
        target_mask: Picture | Asset | None = None,
        reference_mask: Picture | Asset | None = None,
        pictures: Besides = None,
        masks: Besides = None,
        prompt: str | None = None,
        negative_prompt: str | None = None,
        seed: int | None = None,
        seeds: Sequence[int] | None = None,
        params: Mapping[str, Any] | None = None,
        output: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
        deadline: int | None = None,
        ttl: int | None = None,
        priority: int | None = None,
        webhook: Mapping[str, Any] | None = None,
        wait: int = 0,
        idempotency_key: str | None = None,
    ) -> Transfer:
        """Queues a job that paints `target` with the appearance of `reference`; returns its record.

        `deadline`, `ttl` and `wait` are seconds; with `wait`, at most 60, the answer may take that long if the job
        ends meanwhile. `seeds`, in place of `seed`, makes a picture for each, in one run. Submitting again with the
        same `idempotency_key` finds the first job. `pictures` and `masks` are those that regions in `params` name. All
        of them are files, or all assets. Raises OSError for a file that cannot be read.
        """
        first = {
            "target": target,
            "reference": reference,
            "target_mask": target_mask,
            "reference_mask": reference_mask,
        }
        fields = {
            "prompt": prompt,
            "negative_prompt": negative_prompt,
            "seed": seed,
            "seeds": None if seeds is None else list(seeds),
            "params": params,
            "output": output,
            "metadata": metadata,
            "deadline": deadline,
            "ttl": ttl,
            "priority": priority,
            "webhook": webhook,
        }
        return self._submit(idempotency(idempotency_key, wait), **body_of(first, pictures, masks, fields))

    def result(self, job_id: str, *, seed: int | None = None) -> bytes:
        """The finished picture, of the first seed or of this one."""
        return self._file(job_id, "result", seed)

    def matches(self, job_id: str, *, seed: int | None = None) -> bytes:
        """The correspondence map of a finished job, as NumPy's .npz, of the first seed or of this one."""
        return self._file(job_id, "matches", seed)
