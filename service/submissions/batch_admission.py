"""From a batch's request to its queued jobs, all of them or none: the same steps as for one job."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from anyio.to_thread import run_sync

from jobs.inputs import ExpectedInputs, InputKeys, InputSize
from jobs.schema import JobSpec
from jobs.stores.assets import Asset
from jobs.stores.batches import Batch, PlannedJob
from jobs.stores.idempotency import IdempotencyKey
from jobs.stores.job_store import new_job_id
from service.errors import Problem, refuse
from service.schemas.batch_request import BatchJob, BatchRequest
from service.schemas.problem import FieldError
from service.submissions.admission import Admission, drawn_seed, require_models
from service.submissions.inputs import OpenedPicture, pointer_to_item, require_room, transparency_refused
from service.submissions.reservation import Reservation, fingerprint, reservation
from uploads.errors import InvalidImage

COPIES_AT_ONCE = 8
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class BatchAdmission:
    """Shared by all requests. Raises as Admission does, and a Problem for pictures names all that are refused."""

    admission: Admission

    async def admit(self, form: BatchRequest, tenant: str, idempotency_key: str = "") -> tuple[Batch, bool]:
        """Queues all jobs of the batch, or finds the first answer to the same request; then the second value is
        true."""
        await self.admission.require_webhook(form.webhook, tenant)
        stores, objects, key = self.admission.stores, self.admission.objects, None
        if idempotency_key:
            key = IdempotencyKey.of(
                idempotency_key, fingerprint({"kind": "batch", "fields": form.model_dump(mode="json")})
            )
        async with reservation(stores, objects, stores.batches.reserve, tenant, key) as reserved:
            if reserved.answer is not None:
                return reserved.answer, True
            async with self.admission.decodes:
                opened = await run_sync(self._open, form, tenant)
                masks = await run_sync(self._check, form, opened)
                inputs = await reserved.store(partial(_put, form, opened, masks, reserved))
                jobs = [
                    PlannedJob(
                        item.custom_id, new_job_id(), _spec(form, item, keys, _sizes(form, item, opened), reserved.id)
                    )
                    for item, keys in zip(form.items, inputs, strict=True)
                ]
                ids = {"batch_id": reserved.id, "tenant": tenant}
                submit = partial(stores.batches.submit, jobs, **ids, metadata=form.metadata, key=key)
                return await reserved.submit(submit), False

    def _open(self, form: BatchRequest, tenant: str) -> dict[str, OpenedPicture]:
        """Every asset that is named, by its id."""
        require_models(self.admission.stores.jobs, form.params)
        found: dict[str, OpenedPicture] = {}
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

    def _check(self, form: BatchRequest, opened: Mapping[str, OpenedPicture]) -> dict[str, bytes]:
        """The masks, ready for the workers, by the id of their asset. A mask goes with one size only."""
        expected = ExpectedInputs.of(form.params)
        masks: dict[str, bytes] = {}
        errors: list[FieldError] = []
        seen: dict[tuple[str, Size], InvalidImage | None] = {}
        for position, item in enumerate(form.items):
            pictures = form.assets_of(item)
            sizes = {part: _size(opened, pictures[part]) for part in expected.all_pictures}
            sizes |= {mask: sizes[owner] for mask, owner in expected.all_masks.items() if mask in pictures}
            if transparency_refused(form.output, _asset(opened, pictures["target"]).has_alpha):
                pointer = pointer_to_item(position, "target")
                errors.append(FieldError(pointer=pointer, code="output_transparency", message="It is transparent."))
            errors += self._check_room(position, sizes, expected)
            for mask, owner in expected.all_masks.items():
                mask_id = pictures.get(mask)
                if mask_id is None:
                    continue
                masked = (mask_id, sizes[owner])
                if masked not in seen:
                    try:
                        masks[mask_id] = self.admission.decoders.check_mask(opened[mask_id].read(), size=masked[1]).png
                        seen[masked] = None
                    except InvalidImage as error:
                        seen[masked] = error
                if (wrong := seen[masked]) is not None:
                    pointer = pointer_to_item(position, mask)
                    errors.append(FieldError(pointer=pointer, code=wrong.code, message=str(wrong)))
        refuse(errors)
        return masks

    def _check_room(self, position: int, sizes: Mapping[str, Size], expected: ExpectedInputs) -> list[FieldError]:
        """An error when no worker could take the pictures of one job together."""
        try:
            require_room(((*size, part in expected.all_masks) for part, size in sizes.items()), self.admission.decoders)
        except InvalidImage as error:
            return [FieldError(pointer=f"/items/{position}", code=error.code, message=str(error))]
        return []


def _put(
    form: BatchRequest,
    opened: Mapping[str, OpenedPicture],
    masks: Mapping[str, bytes],
    reserved: Reservation[Batch],
) -> list[InputKeys]:
    """Stores each picture and each mask once, under the batch's id. The inputs of each job."""
    expected = ExpectedInputs.of(form.params)
    used = {form.assets_of(item)[part] for item in form.items for part in expected.all_pictures}
    keys = _put_copies(sorted(used), opened, reserved)
    mask_keys = {each: reserved.put(f"{each}-mask.png", png) for each, png in masks.items()}
    return [
        InputKeys.of(
            {
                part: (mask_keys if part in expected.all_masks else keys)[each]
                for part, each in form.assets_of(item).items()
            }
        )
        for item in form.items
    ]


def _put_copies(
    asset_ids: Iterable[str], opened: Mapping[str, OpenedPicture], reserved: Reservation[Batch]
) -> dict[str, str]:
    def put(asset_id: str) -> tuple[str, str]:
        return asset_id, reserved.put(f"{asset_id}.png", opened[asset_id].read())

    with ThreadPoolExecutor(COPIES_AT_ONCE) as pool:
        return dict(pool.map(put, asset_ids))


def _sizes(form: BatchRequest, item: BatchJob, opened: Mapping[str, OpenedPicture]) -> dict[str, InputSize]:
    assets, expected = form.assets_of(item), ExpectedInputs.of(form.params)
    pictures = ((part, _asset(opened, assets[part])) for part in expected.all_pictures)
    return {part: InputSize.of((asset.width, asset.height), asset.scaled_from) for part, asset in pictures}


def _spec(form: BatchRequest, item: BatchJob, inputs: InputKeys, sizes: dict[str, InputSize], batch_id: str) -> JobSpec:
    seed, *more = item.asked_seeds or form.asked_seeds or [drawn_seed()]
    return JobSpec(
        kind=form.kind,
        inputs=inputs,
        sizes=sizes,
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


def _asset(opened: Mapping[str, OpenedPicture], asset_id: str) -> Asset:
    asset = opened[asset_id].asset
    assert asset is not None
    return asset


def _size(opened: Mapping[str, OpenedPicture], asset_id: str) -> Size:
    asset = _asset(opened, asset_id)
    return asset.width, asset.height
