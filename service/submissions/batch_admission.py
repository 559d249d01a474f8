"""From a batch's request to its queued jobs: all of them or none."""

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from jobs.inputs import ExpectedInputs, InputKeys
from jobs.objects import input_key
from jobs.schema import JobSpec
from jobs.stores.assets import Asset
from jobs.stores.batches import Batch, PlannedJob
from jobs.stores.idempotency import IdempotencyKey
from jobs.stores.job_store import new_job_id
from service.errors import Problem, refuse
from service.schemas.batch_request import BatchJob, BatchRequest
from service.schemas.job import FieldError
from service.submissions.admission import Admission, drawn_seed
from service.submissions.capability import require_models
from service.submissions.inputs import Given, pointer_to_item, require_room, transparency_refused
from uploads.errors import InvalidImage

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
            key = IdempotencyKey.of(idempotency_key, digest)
        batches = self.admission.stores.batches

        async def prepare() -> partial[list[PlannedJob]]:
            return partial(self._stored, form)

        def submit(jobs: list[PlannedJob], batch_id: str) -> Batch:
            return batches.submit(jobs, batch_id=batch_id, tenant=tenant, metadata=form.metadata, key=key)

        return await self.admission.admitted(prepare, batches.reserve, submit, tenant, key)

    def _stored(self, form: BatchRequest, batch_id: str, tenant: str) -> list[PlannedJob]:
        """Checks everything, then puts each picture once under the batch's id."""
        require_models(self.admission.stores.jobs, form.params)
        expected = ExpectedInputs.of(form.params)
        given = self._assets(form, tenant)
        masks = self._checked(form, expected, given)
        used = {form.assets_of(item)[part] for item in form.items for part in expected.all_pictures}
        keys = {each: input_key(tenant, batch_id, f"{each}.png") for each in used}

        def put(each: str) -> None:
            self.admission.objects.put(keys[each], given[each].read(), "image/png")

        with ThreadPoolExecutor(COPIES_AT_ONCE) as pool:
            list(pool.map(put, sorted(used)))
        mask_keys = {each: input_key(tenant, batch_id, f"{each}-mask.png") for each in masks}
        for each, png in masks.items():
            self.admission.objects.put(mask_keys[each], png, "image/png")

        def keys_of(item: BatchJob) -> InputKeys:
            stored = form.assets_of(item).items()
            return InputKeys.of(
                {part: (mask_keys if part in expected.all_masks else keys)[each] for part, each in stored}
            )

        return [
            PlannedJob(item.custom_id, new_job_id(), _spec(form, item, keys_of(item), batch_id)) for item in form.items
        ]

    def _assets(self, form: BatchRequest, tenant: str) -> dict[str, Given]:
        """Every asset that is named, by its id."""
        found: dict[str, Given] = {}
        missing: dict[str, Problem] = {}
        errors: list[FieldError] = []
        for position, item in enumerate(form.items):
            for part, asset_id in form.assets_of(item).items():
                if asset_id not in found and asset_id not in missing:
                    try:
                        found[asset_id] = self.admission.sources.of_asset(asset_id, tenant)
                    except Problem as problem:
                        missing[asset_id] = problem
                if (wrong := missing.get(asset_id)) is not None:
                    pointer = pointer_to_item(position, part)
                    errors.append(FieldError(pointer=pointer, code=wrong.code, message=wrong.detail))
        refuse(errors)
        return found

    def _checked(self, form: BatchRequest, expected: ExpectedInputs, given: Mapping[str, Given]) -> dict[str, bytes]:
        """The masks, ready for the workers, by the id of their asset. A mask goes with one size only."""
        masks: dict[str, bytes] = {}
        errors: list[FieldError] = []
        seen: dict[tuple[str, tuple[int, int]], InvalidImage | None] = {}
        for position, item in enumerate(form.items):
            pictures = form.assets_of(item)
            sizes = {part: _size(given, pictures[part]) for part in expected.all_pictures}
            sizes |= {mask: sizes[owner] for mask, owner in expected.all_masks.items() if mask in pictures}
            errors += self._too_much(form, position, _known(given, pictures["target"]), sizes, expected)
            for mask, owner in expected.all_masks.items():
                mask_id = pictures.get(mask)
                if mask_id is None:
                    continue
                asked = (mask_id, sizes[owner])
                if asked not in seen:
                    try:
                        masks[mask_id] = self.admission.decoders.check_mask(given[mask_id].read(), size=asked[1]).png
                        seen[asked] = None
                    except InvalidImage as error:
                        seen[asked] = error
                if (wrong := seen[asked]) is not None:
                    pointer = pointer_to_item(position, mask)
                    errors.append(FieldError(pointer=pointer, code=wrong.code, message=str(wrong)))
        refuse(errors)
        return masks

    def _too_much(
        self,
        form: BatchRequest,
        position: int,
        target: Asset,
        sizes: Mapping[str, tuple[int, int]],
        expected: ExpectedInputs,
    ) -> list[FieldError]:
        """What of one job no worker could take, or no file of the wanted kind hold."""
        errors = []
        if transparency_refused(form.output, target.has_alpha):
            pointer = pointer_to_item(position, "target")
            errors.append(FieldError(pointer=pointer, code="output_transparency", message="It is transparent."))
        try:
            require_room(((*size, part in expected.all_masks) for part, size in sizes.items()), self.admission.decoders)
        except InvalidImage as error:
            errors.append(FieldError(pointer=f"/items/{position}", code=error.code, message=str(error)))
        return errors


def _spec(form: BatchRequest, item: BatchJob, inputs: InputKeys, batch_id: str) -> JobSpec:
    seed, *more = item.asked_seeds or form.asked_seeds or [drawn_seed()]
    return JobSpec(
        kind=form.kind,
        inputs=inputs,
        params=form.params,
        prompt=form.prompt if item.prompt is None else item.prompt,
        negative_prompt=form.negative_prompt if item.negative_prompt is None else item.negative_prompt,
        seed=seed,
        more_seeds=tuple(more),
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


def _size(given: Mapping[str, Given], asset_id: str) -> tuple[int, int]:
    asset = _known(given, asset_id)
    return asset.width, asset.height
