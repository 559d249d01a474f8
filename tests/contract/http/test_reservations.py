"""What becomes of a reservation when a submission ends before its job is queued."""

import asyncio
import threading

import anyio
import pytest
from anyio.to_thread import run_sync

from jobs.errors import ObjectsUnavailable, QueueFull, StoreUnavailable
from jobs.objects import ObjectStore
from jobs.schema import Record
from jobs.stores.idempotency import IdempotencyKey
from jobs.stores.redis_stores import RedisStores
from service.submissions.reservation import Reservation, reservation

KEY = IdempotencyKey.of("key", "fingerprint")


class Submission:
    """One submission under `KEY`: puts a picture, and then `end` decides."""

    def __init__(self, stores: RedisStores, objects: ObjectStore) -> None:
        self.stores = stores
        self.objects = objects
        self.putting = threading.Event()
        self.go_on = threading.Event()
        self.stored = threading.Event()

    async def run(self, error: BaseException | None = None, in_submit: BaseException | None = None) -> None:
        reserve = self.stores.reservations.reserve
        async with reservation(self.stores, self.objects, reserve, "local", KEY) as reserved:
            await reserved.store(lambda: self._put(reserved))
            if error is not None:
                raise error
            assert in_submit is not None
            await reserved.submit(lambda: self._fail(in_submit))

    def _put(self, reserved: Reservation[Record]) -> None:
        self.putting.set()
        assert self.go_on.wait(5)
        reserved.put("target.png", b"png")
        self.stored.set()

    @staticmethod
    def _fail(error: BaseException) -> Record:
        raise error

    @property
    def inputs(self) -> list[str]:
        return self.objects.keys("inputs/")

    @property
    def collectable(self) -> int:
        """Reservations that the collector looks after."""
        return len(self.stores.cleanup_queue.abandoned(0, 10))

    @property
    def key_is_free(self) -> bool:
        return self.stores.reservations.reserve("other", tenant="local", key=KEY) is None


@pytest.fixture
def submission(stores: RedisStores, objects: ObjectStore) -> Submission:
    return Submission(stores, objects)


@pytest.mark.parametrize("end", [{"error": ValueError()}, {"in_submit": QueueFull("full", retry_after_s=1)}])
def test_what_was_put_is_deleted_and_the_key_is_free(submission: Submission, end: dict[str, Exception]) -> None:
    submission.go_on.set()
    with pytest.raises(type(next(iter(end.values())))):
        anyio.run(lambda: submission.run(**end))
    assert (submission.inputs, submission.collectable) == ([], 0)
    assert submission.key_is_free


def test_from_a_store_that_fails_the_collector_deletes(submission: Submission) -> None:
    submission.go_on.set()
    with pytest.raises(ObjectsUnavailable):
        anyio.run(lambda: submission.run(error=ObjectsUnavailable("down")))
    assert (len(submission.inputs), submission.collectable) == (1, 1)
    assert submission.key_is_free


def test_a_job_that_may_be_queued_keeps_its_inputs(submission: Submission) -> None:
    submission.go_on.set()
    with pytest.raises(StoreUnavailable):
        anyio.run(lambda: submission.run(in_submit=StoreUnavailable("no answer")))
    assert (len(submission.inputs), submission.collectable) == (1, 1)


def test_a_request_that_is_canceled_while_it_stores_leaves_that_to_the_collector(submission: Submission) -> None:
    """As uvicorn does when the time for requests in flight is over: the thread goes on."""

    async def cancel() -> None:
        task = asyncio.create_task(submission.run(error=ValueError()))
        await run_sync(submission.putting.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert submission.inputs == []
        submission.go_on.set()

    anyio.run(cancel)
    assert submission.stored.wait(5)
    assert (len(submission.inputs), submission.collectable) == (1, 1)
    assert submission.key_is_free
