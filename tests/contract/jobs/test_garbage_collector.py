"""No object outlives its purpose, and no committed one is taken."""

import time

import pytest
from redis import Redis

from jobs.errors import JobNotFound
from jobs.garbage_collector import GarbageCollector
from jobs.objects import ObjectStore, preview_key, result_key
from jobs.schema import Claim, JobError, StoredMask
from jobs.stores.job_store import JobStore, new_job_id
from jobs.stores.redis_stores import RedisStores
from tests.specs import make_result, make_spec, put_inputs

FAILED = JobError(code="internal", message="")
NAMES = ("image.png", "mask-target.png", "matches.npz", "matches.png")
EVERYTHING = 2 + len(NAMES) + 1
"""Objects of a job: inputs, results, preview."""


def begin(store: JobStore, objects: ObjectStore) -> Claim:
    job_id = new_job_id()
    spec = make_spec(job_id=job_id)
    put_inputs(objects, spec)
    store.submit(spec, job_id=job_id)
    return claim(store)


def claim(store: JobStore) -> Claim:
    taken = store.claim("w1")
    assert taken is not None
    return taken


def write_outputs(objects: ObjectStore, taken: Claim) -> None:
    job_id = taken.record.id
    for name in NAMES:
        objects.put(result_key("local", job_id, taken.attempt, name), b"x", "image/png")
    objects.put(preview_key("local", job_id, taken.attempt), b"x", "image/jpeg", overwrite=True)


def all_keys(objects: ObjectStore) -> list[str]:
    return sorted(key for top in ("inputs/", "results/", "previews/") for key in objects.keys(top))


def commit(store: JobStore, taken: Claim) -> None:
    image, mask, *_ = (result_key("local", taken.record.id, taken.attempt, name) for name in NAMES)
    masks = {"target": StoredMask(key=mask, coverage=0.5)}
    assert store.commit(taken, make_result(image).model_copy(update={"masks": masks}))


@pytest.fixture
def collector(stores: RedisStores, objects: ObjectStore) -> GarbageCollector:
    return GarbageCollector(stores, objects, leftover_age_s=0)


def test_the_committed_attempt_stays_and_the_others_go(
    store: JobStore, objects: ObjectStore, collector: GarbageCollector
) -> None:
    first = begin(store, objects)
    write_outputs(objects, first)
    assert store.hand_back(first)
    second = claim(store)
    write_outputs(objects, second)
    collector.collect()
    assert len(objects.keys("results/")) == 2 * len(NAMES)  # nothing is touched before the end
    commit(store, second)
    assert collector.collect() == len(NAMES) + 2, "one attempt's results, both previews"
    job_id = first.record.id
    assert objects.keys("results/") == [result_key("local", job_id, 2, name) for name in NAMES]
    assert collector.collect() == 0


def test_a_failed_job_keeps_its_inputs_only(store: JobStore, objects: ObjectStore, collector: GarbageCollector) -> None:
    taken = begin(store, objects)
    write_outputs(objects, taken)
    store.fail(taken, FAILED)
    assert collector.collect() == len(NAMES) + 1
    assert all(key.startswith("inputs/") for key in all_keys(objects))
    assert len(all_keys(objects)) == 2


def test_a_fresh_end_is_left_alone_for_a_while(stores: RedisStores, objects: ObjectStore) -> None:
    store = stores.jobs
    taken = begin(store, objects)
    write_outputs(objects, taken)
    store.fail(taken, FAILED)
    assert GarbageCollector(stores, objects, leftover_age_s=60).collect() == 0
    assert len(all_keys(objects)) == EVERYTHING


def test_after_retention_everything_goes(
    store: JobStore, objects: ObjectStore, collector: GarbageCollector, redis: Redis
) -> None:
    kept, expired = begin(store, objects), begin(store, objects)
    for taken in (kept, expired):
        write_outputs(objects, taken)
        commit(store, taken)
    assert collector.collect() == 0
    member = f"local/{expired.record.id}"
    redis.zadd("plumage:expiring", {member: time.time_ns() // 1_000_000 - 1}, xx=True)
    redis.delete(f"plumage:job:{expired.record.id}", f"plumage:tomb:{expired.record.id}")
    assert collector.collect() == EVERYTHING
    assert all(kept.record.id in key for key in all_keys(objects))
    assert len(all_keys(objects)) == EVERYTHING
    assert [record.id for record in store.list_jobs(tenant="local").items] == [kept.record.id]
    assert redis.zcard("plumage:index:local") == 1
    with pytest.raises(JobNotFound):
        store.get(expired.record.id, tenant="local")
