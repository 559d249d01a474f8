"""From a batch's request to its queued jobs: all of them or none."""

import hashlib
import json
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from jobs.assets import Asset
from jobs.batches import Batch, Planned
from jobs.errors import InvalidImage
from jobs.objects import input_key
from jobs.schema import InputKeys, JobSpec
from jobs.store import new_job_id
from jobs.submissions import SubmissionKey
from service.admission import RANDOM_SEEDS, Admission, transparency_refused
from service.batch_forms import BatchJob, BatchRequest
from service.capability import require_models
from service.errors import Problem
from service.schemas import FieldError
from service.sources import Given

COPIES_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class BatchAdmission:
    admission: Admission

    async def admit(self, form: BatchRequest, tenant: str, idempotency_key: str = "") -> tuple[Batch, bool]:
        """Queues all jobs of the batch, or finds the first answer to the same request; then the second value is true.

        Raises Problem for pictures that are refused, and names all of them; and what the stores raise.
        """
        key = None
        if idempotency_key:
            asked = {"kind": "batch", "fields": form.model_dump(mode="json")}
            digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
            key = SubmissionKey.named(idempotency_key, digest)
        batches = self.admission.store.batches

        async def prepare() -> partial[list[Planned]]:
            return partial(self._stored, form)

        def submit(jobs: list[Planned], batch_id: str) -> Batch:
            return batches.submit(jobs, batch_id=batch_id, tenant=tenant, metadata=form.metadata, key=key)

        return await self.admission.admitted(prepare, batches.reserve, submit, tenant, key)

    def _stored(self, form: BatchRequest, batch_id: str, tenant: str) -> list[Planned]:
        """Checks everything, then puts each picture once under the batch's id."""
        require_models(self.admission.store, form.params)
        given = self._assets(form, tenant)
        masks = self._checked(form, given)
        keys = {each: input_key(tenant, batch_id, f"{each}.png") for each in given}

        def put(each: str) -> None:
            self.admission.objects.put(keys[each], given[each].read(), "image/png")

        used = {each for item in form.items for name, each in form.pictures(item).items() if "mask" not in name}
        with ThreadPoolExecutor(COPIES_AT_ONCE) as pool:
            list(pool.map(put, sorted(used)))
        mask_keys = {each: input_key(tenant, batch_id, f"{each}-mask.png") for each in masks}
        for each, png in masks.items():
            self.admission.objects.put(mask_keys[each], png, "image/png")
        return [
            Planned(item.custom_id, new_job_id(), self._spec(form, item, batch_id, keys, mask_keys))
            for item in form.items
        ]

    def _assets(self, form: BatchRequest, tenant: str) -> dict[str, Given]:
        """Every asset that is named, by its id."""
        found: dict[str, Given] = {}
        missing: dict[str, Problem] = {}
        errors: list[FieldError] = []
        for position, item in enumerate(form.items):
            for name, asset_id in form.pictures(item).items():
                if asset_id not in found and asset_id not in missing:
                    try:
                        found[asset_id] = self.admission.sources.of_asset(asset_id, tenant)
                    except Problem as problem:
                        missing[asset_id] = problem
                if asset_id in missing:
                    wrong = missing[asset_id]
                    errors.append(
                        FieldError(pointer=f"/items/{position}/{name}", code=wrong.code, message=wrong.detail)
                    )
        if errors:
            raise Problem(errors[0].code, f"{errors[0].pointer}: {errors[0].message}", errors=errors)
        return found

    def _checked(self, form: BatchRequest, given: Mapping[str, Given]) -> dict[str, bytes]:
        """The masks, ready for the workers, by the id of their asset. A mask goes with one size only."""
        masks: dict[str, bytes] = {}
        errors: list[FieldError] = []
        seen: dict[tuple[str, tuple[int, int]], InvalidImage | None] = {}
        for position, item in enumerate(form.items):
            pictures = form.pictures(item)
            if transparency_refused(form.output, _known(given, pictures["target"]).has_alpha):
                errors.append(
                    FieldError(
                        pointer=f"/items/{position}/target", code="output_transparency", message="It is transparent."
                    )
                )
            for name in ("target", "reference"):
                mask_id = pictures.get(f"{name}_mask")
                if mask_id is None:
                    continue
                asset = _known(given, pictures[name])
                asked = (mask_id, (asset.width, asset.height))
                if asked not in seen:
                    try:
                        masks[mask_id] = self.admission.decoders.check_mask(given[mask_id].read(), size=asked[1]).png
                        seen[asked] = None
                    except InvalidImage as error:
                        seen[asked] = error
                if (wrong := seen[asked]) is not None:
                    pointer = f"/items/{position}/{name}_mask"
                    errors.append(FieldError(pointer=pointer, code=wrong.code, message=str(wrong)))
        if errors:
            raise Problem(errors[0].code, f"{errors[0].pointer}: {errors[0].message}", errors=errors)
        return masks

    @staticmethod
    def _spec(
        form: BatchRequest, item: BatchJob, batch_id: str, keys: Mapping[str, str], mask_keys: Mapping[str, str]
    ) -> JobSpec:
        pictures = form.pictures(item)
        seed = item.seed if item.seed is not None else form.seed
        return JobSpec(
            kind=form.kind,
            inputs=InputKeys(
                target=keys[pictures["target"]],
                reference=keys[pictures["reference"]],
                target_mask=mask_keys.get(pictures.get("target_mask", "")),
                reference_mask=mask_keys.get(pictures.get("reference_mask", "")),
            ),
            params=form.params,
            prompt=form.prompt if item.prompt is None else item.prompt,
            negative_prompt=form.negative_prompt if item.negative_prompt is None else item.negative_prompt,
            seed=secrets.randbelow(RANDOM_SEEDS) if seed is None else seed,
            metadata=form.metadata if item.metadata is None else item.metadata,
            deadline_s=form.deadline,
            ttl_s=form.ttl,
            priority=form.priority,
            output=form.output,
            webhook=form.webhook,
            batch=batch_id,
        )


def _known(given: Mapping[str, Given], asset_id: str) -> Asset:
    asset = given[asset_id].asset
    assert asset is not None
    return asset
