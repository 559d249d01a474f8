"""From a submission to a queued job: open, check, store, submit. Everything is checked before anything is stored."""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.datastructures import UploadFile as ReceivedFile

from core.params.optional_models import how_to_configure
from core.params.transfer import TransferParams
from jobs.errors import ObjectNotFound
from jobs.inputs import MASK, PARTS, ExpectedInputs, InputKeys, InputSize
from jobs.objects import ObjectStore
from jobs.schema import JobSpec, Output, Record, Status, WorkerState
from jobs.stores.idempotency import IdempotencyKey
from jobs.stores.job_store import JobStore
from jobs.stores.redis_stores import RedisStores
from jobs.webhooks import Webhook
from service.errors import Problem
from service.outbound import Outbound
from service.schemas.problem import FieldError
from service.schemas.submission import ImageFields, Submission
from service.submissions.inputs import OpenedPicture, PictureSources, Source, check_pictures, transparency_refused
from service.submissions.reservation import Reservation, fingerprint, reservation
from service.webhooks.payload import require_deliverable
from uploads.decoder_pool import DecoderPool
from uploads.images import CheckedPicture

RANDOM_SEEDS = 2**53
"""Drawn seeds stay below this, so that clients that read numbers as doubles can send them back."""
RETRIED = (Status.FAILED, Status.CANCELED, Status.EXPIRED)
WARM = (WorkerState.READY, WorkerState.BUSY)


@dataclass(frozen=True, slots=True)
class Admission:
    """Shared by all requests. Its methods raise Problem for what is refused, and what the stores raise."""

    stores: RedisStores
    objects: ObjectStore
    decoders: DecoderPool
    sources: PictureSources
    webhook_outbound: Outbound
    decodes: CapacityLimiter
    """Requests whose pictures are in memory."""

    async def admit(self, form: Submission, tenant: str, idempotency_key: str = "") -> tuple[Record, bool]:
        """Queues the job, or finds the first answer to the same submission; then the second value is true."""
        await self.require_webhook(form.webhook, tenant)
        key = None
        if idempotency_key:
            key = IdempotencyKey.of(idempotency_key, await run_sync(_fingerprint, form))
        async with reservation(self.stores, self.objects, self.stores.reservations.reserve, tenant, key) as reserved:
            if reserved.answer is not None:
                return reserved.answer, True
            opened = await self.sources.open(form.parts, form.pointer, tenant)
            async with self.decodes:
                pictures, output = await run_sync(self._check, form, opened)
                inputs = await reserved.store(partial(_put, pictures, reserved))
                return await self._submit(_spec(form, inputs, sizes_of(pictures), output), reserved), False

    async def check(self, form: Submission, tenant: str) -> dict[str, InputSize]:
        """Checks all that `admit` does and stores nothing. The sizes of the input pictures, by part."""
        await self.require_webhook(form.webhook, tenant)
        opened = await self.sources.open(form.parts, form.pointer, tenant)
        async with self.decodes:
            pictures, _ = await run_sync(self._check, form, opened)
        return sizes_of(pictures)

    async def retry(self, record: Record, idempotency_key: str = "") -> tuple[Record, bool]:
        """Queues a new job that does what an unsuccessful one should have done; as `admit`.

        Raises Problem when the job may still succeed or has, and when its inputs are gone.
        """
        if record.status not in RETRIED:
            state = "has succeeded" if record.status.terminal else "has not ended"
            raise Problem("invalid_transition", f"The job {state}.", extra={"job_status": record.status})
        key = IdempotencyKey.of(idempotency_key, f"retry of {record.id}") if idempotency_key else None
        reserve = self.stores.reservations.reserve
        async with reservation(self.stores, self.objects, reserve, record.tenant, key) as reserved:
            if reserved.answer is not None:
                return reserved.answer, True
            await run_sync(require_models, self.stores.jobs, record.spec.params)
            async with self.decodes:
                inputs = await reserved.store(partial(self._copy, record.spec.inputs, reserved))
                spec = record.spec.model_copy(update={"inputs": inputs, "batch": None})
                return await self._submit(spec, reserved), False

    async def require_webhook(self, webhook: Webhook | None, tenant: str) -> None:
        """As `require_deliverable`, where a webhook is asked for."""
        if webhook is not None:
            await self.require_deliverable(webhook.url, tenant)

    async def require_deliverable(self, url: str, tenant: str) -> None:
        """Raises Problem when no event could be sent to this URL, and StoreUnavailable."""
        await run_sync(require_deliverable, url, tenant, self.stores.webhook_secrets, self.webhook_outbound)

    def _check(self, form: Submission, opened: Mapping[str, OpenedPicture]) -> tuple[dict[str, CheckedPicture], Output]:
        require_models(self.stores.jobs, form.params)
        output = form.output if isinstance(form, ImageFields) else Output()
        keep = output.color_profile == "target"
        expected = ExpectedInputs.of(form.params)
        pictures = check_pictures(opened, expected, self.decoders, form.pointer, keep_target_profile=keep)
        if transparency_refused(output, pictures["target"].has_alpha):
            wrong = FieldError(pointer="/output/background", code="missing", message="Give a colour to put behind it.")
            raise Problem("output_transparency", errors=[wrong])
        return pictures, output

    def _copy(self, inputs: InputKeys, reserved: Reservation[Record]) -> InputKeys:
        """Inputs of its own for a new job, which live as long as that."""
        try:
            return InputKeys.of(
                {part: reserved.put(f"{part}.png", self.objects.get(key)) for part, key in inputs.parts.items()}
            )
        except ObjectNotFound as error:
            raise Problem("inputs_gone") from error

    async def _submit(self, spec: JobSpec, reserved: Reservation[Record]) -> Record:
        ids = {"job_id": reserved.id, "tenant": reserved.tenant}
        return await reserved.submit(partial(self.stores.jobs.submit, spec, **ids, key=reserved.key))


def require_models(store: JobStore, params: TransferParams) -> None:
    """Raises Problem `model_not_configured` when a warm worker lacks a model that the job needs: any of them may be the
    one to take it. While no worker is warm nothing is known, and the job is let in; and StoreUnavailable.
    """
    needed = params.needed_models
    if not needed:
        return
    warm = [worker for worker in store.workers() if worker.state in WARM]
    for model in sorted(needed):
        if any(model not in worker.optional_models for worker in warm):
            raise Problem("model_not_configured", f"{how_to_configure(model)}.", extra={"model": model})


def drawn_seed() -> int:
    return secrets.randbelow(RANDOM_SEEDS)


def _put(pictures: Mapping[str, CheckedPicture], reserved: Reservation[Record]) -> InputKeys:
    return InputKeys.of({part: reserved.put(f"{part}.png", picture.png) for part, picture in pictures.items()})


def sizes_of(pictures: Mapping[str, CheckedPicture]) -> dict[str, InputSize]:
    """Of those that are no masks, by part."""
    masks = ("target_mask", "reference_mask")
    return {
        part: InputSize.of(picture.size, picture.scaled_from)
        for part, picture in pictures.items()
        if part not in masks and not part.startswith(MASK)
    }


def _spec(form: Submission, inputs: InputKeys, sizes: dict[str, InputSize], output: Output) -> JobSpec:
    seed, *more = form.asked_seeds or [drawn_seed()]
    return JobSpec(
        kind=form.kind,
        inputs=inputs,
        params=form.params,
        prompt=form.prompt,
        negative_prompt=form.negative_prompt,
        seed=seed,
        more_seeds=tuple(more),
        metadata=form.metadata,
        deadline_s=form.deadline,
        ttl_s=form.ttl,
        priority=form.priority,
        output=output,
        sizes=sizes,
        webhook=form.webhook,
    )


def _fingerprint(form: Submission) -> str:
    """Equal for submissions that ask for the same, however the parts were ordered, named or encoded."""
    pictures = {part: _identity(source) for part, source in form.parts.items()}
    fields = form.model_dump(mode="json", exclude={*PARTS, *form.parts, "pictures", "masks"})
    return fingerprint({"kind": form.kind, "pictures": pictures, "fields": fields})


def _identity(source: Source) -> str | dict[str, str]:
    """An upload is what its bytes are, anything else what it is called."""
    if not isinstance(source, ReceivedFile):
        return source.model_dump(exclude_none=True)
    source.file.seek(0)
    digest = hashlib.file_digest(source.file, "sha256").hexdigest()  # type: ignore[arg-type]
    source.file.seek(0)
    return digest
