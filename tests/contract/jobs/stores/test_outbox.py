"""The outbox: every event that a webhook asks for, once, whoever dies, and fairly."""

import time
from collections.abc import Iterator

import pytest
from redis import Redis

from jobs.errors import DeliveryNotFound, JobGone
from jobs.schema import Claim, JobError, JobSpec, Status
from jobs.stores.job_store import JobStore, new_job_id
from jobs.stores.outbox import ClaimedDelivery, Outbox
from jobs.stores.redis_stores import RedisStores
from jobs.webhooks import Event, Webhook
from tests.specs import make_result, make_spec

ALL: tuple[Event, ...] = ("queued", "running", "succeeded", "failed", "canceled", "expired")
URL = "https://receiver.example/hook"
FAILED = JobError(code="internal", message="It broke.")


@pytest.fixture
def outbox(stores: RedisStores) -> Outbox:
    return stores.outbox


def submit(store: JobStore, *events: Event, tenant: str = "local", **terms: int) -> str:
    job_id = new_job_id()
    webhook = Webhook(url=URL, events=events or ALL)
    spec = make_spec(tenant=tenant, job_id=job_id).model_copy(update={"webhook": webhook, **terms})
    store.submit(spec, job_id=job_id, tenant=tenant)
    return job_id


def run(store: JobStore) -> Claim:
    claim = store.claim("w1")
    assert claim is not None
    return claim


def take(outbox: Outbox, *, lease_s: float = 30, attempts: int = 10, at_once: int = 100) -> ClaimedDelivery | None:
    return outbox.claim(lease_s=lease_s, max_attempts=attempts, at_once_per_tenant=at_once)


def taken(outbox: Outbox, **limits: float) -> ClaimedDelivery:
    delivery = take(outbox, **limits)  # type: ignore[arg-type]
    assert delivery is not None
    return delivery


def delivered(outbox: Outbox) -> Iterator[ClaimedDelivery]:
    while delivery := take(outbox):
        assert outbox.settle(delivery, "delivered", http_status=204)
        yield delivery


def test_every_state_is_sent_in_order(store: JobStore, outbox: Outbox) -> None:
    job_id = submit(store)
    claim = run(store)
    store.commit(claim, make_result())
    found = list(delivered(outbox))
    assert [delivery.event for delivery in found] == ["queued", "running", "succeeded"]
    assert [delivery.id for delivery in found] == [f"{job_id}-{number}" for number in (1, 2, 3)]
    assert [delivery.record.status for delivery in found if delivery.record] == ["queued", "running", "succeeded"]
    assert all(delivery.url == URL and delivery.tenant == "local" for delivery in found)


def test_only_what_was_asked_for_is_sent(store: JobStore, outbox: Outbox) -> None:
    submit(store, "failed")
    store.fail(run(store), FAILED)
    (delivery,) = delivered(outbox)
    assert delivery.event == "failed"
    assert delivery.record is not None
    assert delivery.record.error == FAILED


def test_a_job_without_a_webhook_sends_nothing(store: JobStore, outbox: Outbox) -> None:
    job_id = new_job_id()
    store.submit(make_spec(job_id=job_id), job_id=job_id)
    assert take(outbox) is None


def test_ends_without_a_worker_are_sent_too(store: JobStore, outbox: Outbox) -> None:
    canceled, late = submit(store, "canceled"), submit(store, "expired", deadline_s=1)
    store.request_cancel(canceled, tenant="local")
    store.request_cancel(canceled, tenant="local")
    time.sleep(1.1)
    store.reap()
    assert [(p.event, p.id) for p in delivered(outbox)] == [("canceled", f"{canceled}-1"), ("expired", f"{late}-1")]


def test_a_lost_worker_shows_as_queued_and_running_again(store: JobStore, outbox: Outbox) -> None:
    submit(store)
    store.release(run(store))
    store.reap()
    store.commit(run(store), make_result())
    events = [delivery.event for delivery in delivered(outbox)]
    assert events == ["queued", "running", "queued", "running", "succeeded"]


def test_submitting_the_same_id_again_sends_nothing_new(store: JobStore, outbox: Outbox) -> None:
    job_id = new_job_id()
    spec = make_spec(job_id=job_id).model_copy(update={"webhook": Webhook(url=URL, events=ALL)})
    for _ in range(3):
        store.submit(spec, job_id=job_id)
    assert [delivery.event for delivery in delivered(outbox)] == ["queued"]


def test_a_deliverer_that_dies_loses_nothing(store: JobStore, outbox: Outbox) -> None:
    submit(store, "queued")
    first = taken(outbox, lease_s=0.2)
    assert take(outbox) is None
    time.sleep(0.25)
    second = taken(outbox)
    assert (second.id, second.attempt) == (first.id, 2)
    assert not outbox.settle(first, "failed", error="late")
    assert outbox.settle(second, "delivered", http_status=200)
    assert take(outbox) is None


def test_who_dies_with_every_attempt_is_not_tried_for_ever(store: JobStore, outbox: Outbox) -> None:
    job_id = submit(store, "queued", "running")
    run(store)
    for _ in range(2):
        assert taken(outbox, lease_s=0.05, attempts=2).event == "queued"
        time.sleep(0.1)
    assert taken(outbox, attempts=2).event == "running"
    first = store.get(job_id, tenant="local").deliveries[0]
    assert (first.status, first.error, first.attempts) == ("failed", "interrupted", 2)


def test_a_refused_event_waits_and_does_not_hold_up_the_next(store: JobStore, outbox: Outbox) -> None:
    submit(store)
    run(store)
    first = taken(outbox)
    assert take(outbox) is None  # the second waits for the first one's first try
    assert outbox.settle(first, "retry", http_status=500, error="http_500", pause_s=0.3)
    second = taken(outbox)
    assert second.event == "running"
    assert take(outbox) is None
    time.sleep(0.35)
    again = taken(outbox)
    assert (again.id, again.attempt) == (first.id, 2)


def test_the_record_shows_what_became_of_its_events(store: JobStore, outbox: Outbox) -> None:
    job_id = submit(store)
    run(store)
    outbox.settle(taken(outbox), "delivered", http_status=204)
    outbox.settle(taken(outbox), "retry", http_status=503, error="http_503", pause_s=60)
    first, second = store.get(job_id, tenant="local").deliveries
    assert (first.event, first.status, first.http_status, first.attempts) == ("queued", "delivered", 204, 1)
    assert first.next_attempt_at is None
    assert first.settled_at is not None
    assert (second.status, second.http_status, second.error) == ("pending", 503, "http_503")
    assert second.next_attempt_at is not None
    assert 50 < (second.next_attempt_at - second.created_at).total_seconds() < 70


def test_a_receiver_that_is_gone_gets_nothing_more_of_this_job(store: JobStore, outbox: Outbox) -> None:
    job_id, other = submit(store), submit(store, "queued")
    claim = run(store)
    gone = taken(outbox)
    assert outbox.settle(gone, "gone", http_status=410, error="gone")
    store.commit(claim, make_result())
    assert [delivery.id for delivery in delivered(outbox)] == [f"{other}-1"]
    deliveries = store.get(job_id, tenant="local").deliveries
    assert [(each.event, each.status, each.error) for each in deliveries] == [
        ("queued", "failed", "gone"),
        ("running", "failed", "gone"),
    ]


def test_tenants_take_turns(store: JobStore, outbox: Outbox) -> None:
    for _ in range(3):
        submit(store, "queued", tenant="a-lot")
    submit(store, "queued", tenant="few")
    assert [taken(outbox).tenant for _ in range(4)] == ["a-lot", "few", "a-lot", "a-lot"]


def test_one_tenant_cannot_take_all_places(store: JobStore, outbox: Outbox) -> None:
    for _ in range(4):
        submit(store, "queued", tenant="many")
    claimed = [taken(outbox, at_once=2) for _ in range(2)]
    assert take(outbox, at_once=2) is None
    submit(store, "queued", tenant="few")
    assert taken(outbox, at_once=2).tenant == "few"
    outbox.settle(claimed[0], "delivered", http_status=200)
    assert taken(outbox, at_once=2).tenant == "many"


def test_what_is_deleted_is_not_sent(store: JobStore, outbox: Outbox, redis: Redis) -> None:
    job_id = submit(store)
    store.delete(job_id, tenant="local")
    assert take(outbox) is None
    assert [key for key in redis.keys() if b"delivery" in key or b"outbox:" in key] == []
    with pytest.raises(JobGone):
        store.get(job_id, tenant="local")


def test_nothing_of_a_settled_event_is_kept_but_how_it_went(store: JobStore, outbox: Outbox, redis: Redis) -> None:
    job_id = submit(store, "queued")
    assert redis.hexists(f"plumage:delivery:{job_id}-1", "record")
    assert len(list(delivered(outbox))) == 1
    assert not redis.hexists(f"plumage:delivery:{job_id}-1", "record")
    assert 0 < redis.ttl(f"plumage:delivery:{job_id}-1") <= 86_400  # as long as a record
    assert redis.keys("plumage:outbox*") == [b"plumage:outbox-turn"]


def test_an_event_outlives_its_record(store: JobStore, outbox: Outbox) -> None:
    job_id = submit(store, "succeeded", ttl_s=1)
    store.commit(run(store), make_result())
    time.sleep(1.2)
    with pytest.raises(JobGone):
        store.get(job_id, tenant="local")
    (delivery,) = delivered(outbox)
    assert delivery.record is not None
    assert delivery.record.status is Status.SUCCEEDED


def test_a_test_belongs_to_its_tenant(outbox: Outbox) -> None:
    delivery_id = outbox.post_test("acme", URL)
    assert outbox.get(delivery_id, tenant="acme").status == "pending"
    with pytest.raises(DeliveryNotFound):
        outbox.get(delivery_id, tenant="rival")
    with pytest.raises(DeliveryNotFound):
        outbox.get("test-0", tenant="acme")
    delivery = taken(outbox)
    assert (delivery.id, delivery.event, delivery.record) == (delivery_id, "test", None)
    assert outbox.settle(delivery, "failed", error="timeout")
    assert outbox.get(delivery_id, tenant="acme").error == "timeout"


def test_the_whole_record_is_in_an_event(store: JobStore, outbox: Outbox) -> None:
    job_id = new_job_id()
    spec: JobSpec = make_spec(job_id=job_id).model_copy(
        update={
            "webhook": Webhook(url=URL, events=ALL),
            "seed": 2**63 - 1,
            "prompt": 'a "ü" \\ /\n',
            "metadata": {"a": "ß"},
        }
    )
    created = store.submit(spec, job_id=job_id)
    record = taken(outbox).record
    assert record is not None
    assert record == created.model_copy(update={"deliveries": ()})


def test_a_test_event_goes_before_all_that_is_due(store: JobStore, outbox: Outbox) -> None:
    submit(store, "queued")
    test = outbox.post_test("local", URL)
    assert taken(outbox).id == test
