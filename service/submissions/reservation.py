"""An id and an idempotency key, reserved from before anything of a submission is stored until it is queued.

    async with reservation(stores, objects, stores.reservations.reserve, tenant, key) as reserved:
        if reserved.answer is not None:
            return reserved.answer, True
        ...  # open what was given, check it, `store` it, `submit`

When the block raises, the key can be used again and whatever was stored is deleted: at once or, where that is not
safe, by the garbage collector.
"""

import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Generic, TypeVar

import anyio
import structlog
from anyio.to_thread import run_sync

from jobs.errors import IdempotencyKeyInUse, JobsError, ObjectsUnavailable, StoreUnavailable
from jobs.objects import ObjectStore, input_key, input_prefix
from jobs.stores.idempotency import IdempotencyKey
from jobs.stores.job_store import new_job_id
from jobs.stores.redis_stores import RedisStores

WAIT_FOR_OTHER_S = 5.0
LOOK_EVERY_S = 0.1
S = TypeVar("S")
T = TypeVar("T")
log = structlog.get_logger()


def fingerprint(asked: Mapping[str, object]) -> str:
    """Equal for equal submissions: a hash of all that is asked for, JSON-ready."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


class Reservation(Generic[T]):
    """What is reserved, and how far the submission has come."""

    def __init__(
        self, stores: RedisStores, objects: ObjectStore, tenant: str, key: IdempotencyKey | None, reserved_id: str
    ) -> None:
        self.id = reserved_id
        self.tenant = tenant
        self.key = key
        self.answer: T | None = None
        """The first answer to the same submission. Where there is one, nothing is reserved."""
        self._stores = stores
        self._objects = objects
        self._storing = self._submitting = False

    async def store(self, store: Callable[[], S]) -> S:
        """What `store` returns, which may `put`, in a thread."""
        self._storing = True
        return await run_sync(store)

    def put(self, name: str, png: bytes) -> str:
        """Stores a picture under the id and returns its key. Raises ObjectsUnavailable."""
        key = input_key(self.tenant, self.id, name)
        self._objects.put(key, png, "image/png")
        return key

    async def submit(self, submit: Callable[[], T]) -> T:
        """What `submit` returns, the last step: from here on only the store knows whether the job is queued."""
        self._submitting = True
        return await run_sync(submit)

    def give_up(self, error: BaseException, canceled: bool) -> None:
        if self._submitting and (canceled or isinstance(error, StoreUnavailable)):
            return  # the job may be queued, and then needs its inputs
        # Nothing can be deleted from a store that fails, and a canceled request leaves a thread that goes on storing.
        left = self._storing and (canceled or isinstance(error, ObjectsUnavailable))
        try:
            if self._storing and not left:
                self._objects.delete_prefix(input_prefix(self.tenant, self.id))
            self._stores.reservations.withdraw(self.id, tenant=self.tenant, key=self.key, stored=left)
        except JobsError:
            # The reservation ends by itself, and the collector looks after what lies under its id.
            log.warning("submission.not_withdrawn", job_id=self.id)


@asynccontextmanager
async def reservation(
    stores: RedisStores,
    objects: ObjectStore,
    reserve: Callable[..., T | None],
    tenant: str,
    key: IdempotencyKey | None,
) -> AsyncIterator[Reservation[T]]:
    """Raises what `reserve` raises, and ObjectsUnavailable: a store that hangs is found out before pictures are read,
    and not by each of them in its turn."""
    reserved = Reservation[T](stores, objects, tenant, key, new_job_id())
    reserved.answer = await _first_answer(partial(reserve, reserved.id, tenant=tenant, key=key))
    if reserved.answer is not None:
        yield reserved
        return
    try:
        await run_sync(objects.require_answer, input_key(tenant, reserved.id, "target.png"))
        yield reserved
    except BaseException as error:
        canceled = isinstance(error, anyio.get_cancelled_exc_class())
        with anyio.CancelScope(shield=True):
            await run_sync(reserved.give_up, error, canceled)
        raise


async def _first_answer(reserve: Callable[[], T | None]) -> T | None:
    """Waits a little for another submission with the same key: most are admitted within a second."""
    deadline = time.monotonic() + WAIT_FOR_OTHER_S
    while True:
        try:
            return await run_sync(reserve)
        except IdempotencyKeyInUse:
            if time.monotonic() >= deadline:
                raise
        await anyio.sleep(LOOK_EVERY_S)
