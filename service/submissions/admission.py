"""From an uploaded form to a queued job. Everything is checked before anything is stored or queued."""

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import anyio
import structlog
from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from jobs.errors import (
    IdempotencyKeyInUse,
    JobsError,
    ObjectNotFound,
    ObjectsUnavailable,
    StoreUnavailable,
)
from jobs.inputs import ExpectedInputs, InputKeys
from jobs.objects import ObjectStore, input_key, input_prefix
from jobs.schema import JobSpec, Output, Record, Status
from jobs.stores.idempotency import IdempotencyKey
from jobs.stores.job_store import new_job_id
from jobs.stores.redis_stores import RedisStores
from service.errors import Problem
from service.schemas.job import FieldError
from service.schemas.submission import Painted, Submission
from service.submissions.capability import require_models
from service.submissions.inputs import Given, Sources, check_pictures, fingerprint, transparency_refused
from uploads.decoder_pool import DecoderPool
from uploads.images import CheckedPicture

RANDOM_SEEDS = 2**53
"""Drawn seeds stay below this, so that clients that read numbers as doubles can send them back."""
WAIT_FOR_OTHER_S = 5.0
LOOK_EVERY_S = 0.1
RETRIED = (Status.FAILED, Status.CANCELED, Status.EXPIRED)
S = TypeVar("S")
T = TypeVar("T")
Storing = Callable[[str, str], S]
"""Puts the inputs of what gets this id, for this tenant, where the returned specification says."""
log = structlog.get_logger()


def drawn_seed() -> int:
    return secrets.randbelow(RANDOM_SEEDS)


@dataclass(frozen=True, slots=True)
class Admission:
    stores: RedisStores
    objects: ObjectStore
    decoders: DecoderPool
    sources: Sources
    decodes: CapacityLimiter

    async def admit(self, form: Submission, tenant: str, idempotency_key: str = "") -> tuple[Record, bool]:
        """Queues the job, or finds the first answer to the same submission; then the second value is true.

        Raises Problem for pictures that are refused, and what the stores raise. Whatever was stored is removed, at
        once or, when it cannot be known whether the job was queued, by the collector.
        """
        key = None
        if idempotency_key:
            key = IdempotencyKey.of(idempotency_key, await run_sync(fingerprint, form))

        async def prepare() -> Storing[JobSpec]:
            return partial(self._stored, form, await self.sources.open(form.parts, form.pointer, tenant))

        return await self._job(prepare, tenant, key)

    async def tried(self, form: Submission, tenant: str) -> tuple[int, int]:
        """Checks all that `admit` does and stores nothing. Width and height of the target. Raises what `admit` raises
        for a submission that is refused."""
        given = await self.sources.open(form.parts, form.pointer, tenant)
        pictures, _ = await run_sync(partial(self._checked, form, given), limiter=self.decodes)
        return pictures["target"].width, pictures["target"].height

    async def again(self, record: Record, idempotency_key: str = "") -> tuple[Record, bool]:
        """Queues a new job that does what an unsuccessful one should have done.

        Raises Problem when the job may still succeed or has, or when its inputs are gone; else as `admit`.
        """
        if record.status not in RETRIED:
            state = "has succeeded" if record.status.terminal else "has not ended"
            raise Problem("invalid_transition", f"The job {state}.", extra={"job_status": record.status})
        key = IdempotencyKey.of(idempotency_key, f"retry of {record.id}") if idempotency_key else None

        async def prepare() -> Storing[JobSpec]:
            return partial(self._copied, record.spec)

        return await self._job(prepare, record.tenant, key)

    async def _job(
        self, prepare: Callable[[], Awaitable[Storing[JobSpec]]], tenant: str, key: IdempotencyKey | None
    ) -> tuple[Record, bool]:
        def submit(spec: JobSpec, job_id: str) -> Record:
            return self.stores.jobs.submit(spec, job_id=job_id, tenant=tenant, key=key)

        return await self.admitted(prepare, self.stores.reservations.reserve, submit, tenant, key)

    async def admitted(
        self,
        prepare: Callable[[], Awaitable[Storing[S]]],
        reserve: Callable[..., T | None],
        submit: Callable[[S, str], T],
        tenant: str,
        key: IdempotencyKey | None,
    ) -> tuple[T, bool]:
        """What `submit` makes of what `prepare` says how to store, under a new id that `reserve` holds until then; or
        the first answer to the same submission, and then the second value is true."""
        job_id = new_job_id()
        answered = await self._reserve(partial(reserve, job_id, tenant=tenant, key=key))
        if answered is not None:
            return answered, True
        await run_sync(self._require_objects, job_id, tenant, key)
        try:
            store = await prepare()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await run_sync(self._release, job_id, tenant, key, False)
            raise
        queue = partial(self._queue, store, submit, job_id, tenant, key)
        return await run_sync(queue, limiter=self.decodes), False

    @staticmethod
    async def _reserve(reserve: Callable[[], T | None]) -> T | None:
        """Waits a little for another submission with the same key: most are admitted within a second."""
        deadline = time.monotonic() + WAIT_FOR_OTHER_S
        while True:
            try:
                return await run_sync(reserve)
            except IdempotencyKeyInUse:
                if time.monotonic() >= deadline:
                    raise
            await anyio.sleep(LOOK_EVERY_S)

    def _require_objects(self, job_id: str, tenant: str, key: IdempotencyKey | None) -> None:
        """A store that hangs is found out at once, and not by each picture in its turn."""
        try:
            self.objects.require_answer(input_key(tenant, job_id, "target.png"))
        except ObjectsUnavailable:
            self._release(job_id, tenant, key)
            raise

    def _queue(
        self,
        store: Storing[S],
        submit: Callable[[S, str], T],
        job_id: str,
        tenant: str,
        key: IdempotencyKey | None,
    ) -> T:
        try:
            stored = store(job_id, tenant)
        except ObjectsUnavailable:
            self._release(job_id, tenant, key)
            raise
        except BaseException:
            self._give_up(job_id, tenant, key)
            raise
        try:
            return submit(stored, job_id)
        except StoreUnavailable:
            raise  # the job may be queued, and then needs its inputs
        except BaseException:
            self._give_up(job_id, tenant, key)
            raise

    def _stored(self, form: Submission, given: Mapping[str, Given], job_id: str, tenant: str) -> JobSpec:
        """Checks what is asked for and the pictures, then puts them where the spec says."""
        pictures, output = self._checked(form, given)
        keys = {name: input_key(tenant, job_id, f"{name}.png") for name in pictures}
        for name, picture in pictures.items():
            self.objects.put(keys[name], picture.png, "image/png")
        seed, *more = form.asked_seeds or [drawn_seed()]
        return JobSpec(
            kind=form.kind,
            inputs=InputKeys.of(keys),
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
            webhook=form.webhook,
        )

    def _checked(self, form: Submission, given: Mapping[str, Given]) -> tuple[dict[str, CheckedPicture], Output]:
        require_models(self.stores.jobs, form.params)
        pictures = check_pictures(given, ExpectedInputs.of(form.params), self.decoders, form.pointer)
        output = form.output if isinstance(form, Painted) else Output()
        if transparency_refused(output, pictures["target"].has_alpha):
            wrong = FieldError(pointer="/output/background", code="missing", message="Give a colour to put behind it.")
            raise Problem("output_transparency", errors=[wrong])
        return pictures, output

    def _copied(self, spec: JobSpec, job_id: str, tenant: str) -> JobSpec:
        """The same with inputs of its own, which live as long as the new job."""
        require_models(self.stores.jobs, spec.params)
        keys: dict[str, str] = {}
        for part, key in spec.inputs.parts.items():
            keys[part] = input_key(tenant, job_id, f"{part}.png")
            try:
                self.objects.put(keys[part], self.objects.get(key), "image/png")
            except ObjectNotFound as error:
                raise Problem("inputs_gone") from error
        return spec.model_copy(update={"inputs": InputKeys.of(keys), "batch": None})

    def _release(self, job_id: str, tenant: str, key: IdempotencyKey | None, stored: bool = True) -> None:
        """Of a store that failed: nothing can be deleted there now, so the collector keeps its task if `stored`."""
        try:
            self.stores.reservations.withdraw(job_id, tenant=tenant, key=key, stored=stored)
        except JobsError:
            log.warning("submission.held", job_id=job_id)  # until the reservation of its key ends

    def _give_up(self, job_id: str, tenant: str, key: IdempotencyKey | None) -> None:
        try:
            self.objects.delete_prefix(input_prefix(tenant, job_id))
            self.stores.reservations.withdraw(job_id, tenant=tenant, key=key)
        except JobsError:
            log.warning("inputs.orphaned", job_id=job_id)  # the reservation stays, and with it the collector's task
