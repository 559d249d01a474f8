"""The status machine, against a real Redis."""

import time
from collections.abc import Callable

import pytest
from redis import Redis

from cli.stack.embedded import EmbeddedRedis
from jobs.errors import InvalidTransition, JobGone, JobNotFound, QueueFull, StoreUnavailable
from jobs.schema import Claim, JobError, ModelIdentity, Record, Status, WorkerReport, WorkerState
from jobs.settings import JobSettings
from jobs.stores.connection import connect_redis
from jobs.stores.job_store import JobStore, new_job_id
from tests.specs import make_result, make_spec

BROKEN = JobError(code="non_finite", message="The picture came out empty.")
TICKETS = "rq:queue:plumage"


def submit(store: JobStore, *, tenant: str = "local", priority: int = 0) -> Record:
    return store.submit(make_spec(tenant=tenant, priority=priority), job_id=new_job_id(), tenant=tenant)


def claim(store: JobStore, worker_id: str = "w1") -> Claim:
    taken = store.claim(worker_id)
    assert taken is not None
    return taken


def status(store: JobStore, job: Record | Claim) -> Status:
    record = job.record if isinstance(job, Claim) else job
    return store.get(record.id, tenant=record.tenant).status


def lose_lease(store: JobStore, redis: Redis, taken: Claim) -> None:
    """As if the worker had died a while ago, without waiting for it."""
    assert redis.zadd("plumage:leases", {taken.record.id: 1}, xx=True, ch=True) == 1
    reap_now(store, redis)


def reap_now(store: JobStore, redis: Redis) -> None:
    redis.delete("plumage:reaper")
    redis.set("plumage:reaped", time.time_ns() // 1_000_000)
    store.reap()


# --- the way of one job ---------------------------------------------------------------------------------------------


def test_a_job_waits_runs_and_succeeds(store: JobStore) -> None:
    queued = submit(store)
    assert (queued.status, queued.queue_position, queued.attempt) == (Status.QUEUED, 1, 0)
    taken = claim(store)
    assert taken.record.id == queued.id
    assert (taken.record.status, taken.attempt, taken.record.queue_position) == (Status.RUNNING, 1, None)
    assert store.report_progress(taken, 3, 4, "previews/x.jpg").held
    running = store.get(queued.id, tenant="local")
    assert (running.progress.step, running.progress.steps, running.progress.value) == (3, 4, 0.75)
    assert running.preview_key == "previews/x.jpg"
    assert store.commit(taken, make_result())
    done = store.get(queued.id, tenant="local")
    assert (done.status, done.result, done.progress.value) == (Status.SUCCEEDED, make_result(), 1.0)
    assert done.started_at is not None
    assert done.finished_at is not None
    assert done.created_at <= done.started_at <= done.finished_at


def test_the_record_keeps_the_spec_and_a_failure(store: JobStore) -> None:
    spec = make_spec(steps=3)
    record = store.submit(spec, job_id=new_job_id())
    assert record.spec == spec
    assert store.fail(claim(store), BROKEN)
    failed = store.get(record.id, tenant="local")
    assert (failed.status, failed.error, failed.result) == (Status.FAILED, BROKEN, None)


def test_nothing_to_claim(store: JobStore) -> None:
    assert store.claim("w1") is None


def _cancel(store: JobStore, taken: Claim) -> Record:
    return store.request_cancel(taken.record.id, tenant="local")


END: dict[str, Callable[[JobStore, Claim], object]] = {
    "succeeded": lambda store, taken: store.commit(taken, make_result()),
    "failed": lambda store, taken: store.fail(taken, BROKEN),
    "canceled": lambda store, taken: (_cancel(store, taken), store.finish_canceled(taken)),
}


@pytest.mark.parametrize("end", END)
def test_terminal_is_final(store: JobStore, redis: Redis, end: str) -> None:
    submit(store)
    taken = claim(store)
    END[end](store, taken)
    before = store.get(taken.record.id, tenant="local")
    assert before.status == end
    for name in END:
        END[name](store, taken)
    store.hand_back(taken)
    store.release(taken)
    assert not store.renew(taken).held
    assert not store.report_progress(taken, 1, 9).held
    reap_now(store, redis)
    assert store.get(taken.record.id, tenant="local") == before
    assert store.claim("w2") is None


@pytest.mark.parametrize("end", ["succeeded", "failed"])
def test_an_end_that_took_effect_can_be_told_again(store: JobStore, end: str) -> None:
    submit(store)
    taken = claim(store)
    assert END[end](store, taken)
    assert END[end](store, taken)


# --- fencing --------------------------------------------------------------------------------------------------------


def test_a_stale_attempt_changes_nothing(store: JobStore, redis: Redis) -> None:
    submit(store)
    stale = claim(store, "paused")
    lose_lease(store, redis, stale)
    current = claim(store, "w2")
    assert (current.record.id, current.attempt) == (stale.record.id, 2)
    assert not store.renew(stale).held
    assert not store.report_progress(stale, 1, 2, "previews/stale.jpg").held
    assert not store.commit(stale, make_result())
    assert not store.fail(stale, BROKEN)
    assert not store.hand_back(stale)
    assert not store.release(stale)
    record = store.get(current.record.id, tenant="local")
    assert (record.status, record.preview_key, record.progress.step) == (Status.RUNNING, None, 0)
    assert store.commit(current, make_result())


def test_a_stale_attempt_is_refused_also_while_the_job_waits(store: JobStore, redis: Redis) -> None:
    submit(store)
    stale = claim(store)
    lose_lease(store, redis, stale)
    assert status(store, stale) is Status.QUEUED
    assert not store.commit(stale, make_result())
    assert not store.renew(stale).held
    assert status(store, stale) is Status.QUEUED


def test_a_repeated_claim_call_returns_the_same_claim(store: JobStore) -> None:
    submit(store)
    submit(store)
    first = store._scripts.call("claim", "w1", "nonce", 5000)
    again = store._scripts.call("claim", "w1", "nonce", 5000)
    assert first == again
    assert store.list_jobs(tenant="local").items[0].status is Status.QUEUED


def test_a_repeated_claim_call_does_not_revive_a_lost_claim(store: JobStore, redis: Redis) -> None:
    submit(store)
    store._scripts.call("claim", "w1", "nonce", 5000)
    redis.zadd("plumage:leases", {store.list_jobs(tenant="local").items[0].id: 0})
    reap_now(store, redis)
    second = claim(store, "w2")
    assert second.attempt == 2
    assert store._scripts.call("claim", "w1", "nonce", 5000) is None


def test_a_worker_finds_a_claim_again_whose_answer_was_lost(store: JobStore, redis: Redis) -> None:
    submit(store)
    submit(store)
    first = claim(store)
    nonce = redis.hget("plumage:claims:w1", "nonce")
    assert isinstance(nonce, bytes)
    store._claim_nonces["w1"] = nonce.decode()  # as it is after a call that ended in StoreUnavailable
    assert claim(store).record.id == first.record.id
    assert claim(store).record.id != first.record.id


# --- cancel ---------------------------------------------------------------------------------------------------------


def test_a_queued_job_is_canceled_at_once(store: JobStore) -> None:
    job, other = submit(store), submit(store)
    canceled = store.request_cancel(job.id, tenant="local")
    assert canceled.status is Status.CANCELED
    assert canceled.finished_at is not None
    assert store.get(other.id, tenant="local").queue_position == 1
    assert claim(store).record.id == other.id


def test_a_running_job_is_asked_and_then_canceled(store: JobStore) -> None:
    submit(store)
    taken = claim(store)
    assert not store.finish_canceled(taken)
    for _ in range(2):
        assert store.request_cancel(taken.record.id, tenant="local").status is Status.CANCELING
    lease = store.renew(taken)
    assert (lease.held, lease.cancel_requested) == (True, True)
    assert store.report_progress(taken, 1, 2).cancel_requested
    assert store.finish_canceled(taken)
    assert status(store, taken) is Status.CANCELED


def test_cancel_before_commit_wins_and_after_it_loses(store: JobStore) -> None:
    submit(store)
    early = claim(store)
    _cancel(store, early)
    assert not store.commit(early, make_result())
    assert store.finish_canceled(early)
    submit(store)
    late = claim(store)
    assert store.commit(late, make_result())
    assert store.request_cancel(late.record.id, tenant="local").status is Status.SUCCEEDED


def test_a_failure_while_canceling_ends_as_canceled(store: JobStore) -> None:
    submit(store)
    taken = claim(store)
    _cancel(store, taken)
    assert store.fail(taken, BROKEN)
    record = store.get(taken.record.id, tenant="local")
    assert (record.status, record.error) == (Status.CANCELED, None)


# --- dead workers ---------------------------------------------------------------------------------------------------


def test_a_job_of_a_dead_worker_waits_at_its_old_place(store: JobStore, redis: Redis) -> None:
    first, second = submit(store), submit(store)
    lose_lease(store, redis, claim(store))
    record = store.get(first.id, tenant="local")
    assert (record.status, record.queue_position, record.started_at) == (Status.QUEUED, 1, None)
    assert store.get(second.id, tenant="local").queue_position == 2
    assert claim(store, "w2").record.id == first.id


def test_a_job_that_kills_its_workers_fails_after_the_last_attempt(
    store: JobStore, redis: Redis, job_settings: JobSettings
) -> None:
    job = submit(store)
    for attempt in range(1, job_settings.max_attempts + 1):
        taken = claim(store, f"w{attempt}")
        assert taken.attempt == attempt
        lose_lease(store, redis, taken)
    record = store.get(job.id, tenant="local")
    assert record.status is Status.FAILED
    assert record.error is not None
    assert record.error.code == "worker_lost"
    assert store.claim("w9") is None


def test_a_cancel_whose_worker_died_ends(store: JobStore, redis: Redis) -> None:
    submit(store)
    taken = claim(store)
    _cancel(store, taken)
    lose_lease(store, redis, taken)
    assert status(store, taken) is Status.CANCELED


def test_handing_back_is_no_failed_attempt(store: JobStore, job_settings: JobSettings) -> None:
    job = submit(store)
    for _ in range(job_settings.max_attempts + 2):
        assert store.hand_back(claim(store))
        assert status(store, job) is Status.QUEUED
    taken = claim(store)
    assert taken.attempt == job_settings.max_attempts + 3
    _cancel(store, taken)
    assert store.hand_back(taken)
    assert status(store, job) is Status.CANCELED


def test_a_lease_that_runs_out_by_itself_is_reaped(client: Redis, job_settings: JobSettings) -> None:
    store = JobStore(client, job_settings.model_copy(update={"lease_s": 0.4, "reap_every_s": 0.02}))
    submit(store)
    taken = claim(store)
    deadline = time.monotonic() + 10
    requeued = 0
    while not requeued and time.monotonic() < deadline:
        requeued = store.reap().requeued
        time.sleep(0.05)
    assert requeued == 1
    assert status(store, taken) is Status.QUEUED


def test_renewing_keeps_the_job(client: Redis, job_settings: JobSettings) -> None:
    store = JobStore(client, job_settings.model_copy(update={"lease_s": 0.6, "reap_every_s": 0.02}))
    submit(store)
    taken = claim(store)
    for _ in range(20):
        assert store.renew(taken).held
        assert store.reap().requeued == 0
        time.sleep(0.05)


def test_after_an_absence_of_redis_workers_may_speak_first(store: JobStore, redis: Redis) -> None:
    """Nobody reaped for a while, so nobody could renew either."""
    submit(store)
    taken = claim(store)
    store.reap()
    redis.zadd("plumage:leases", {taken.record.id: 1})
    redis.set("plumage:reaped", 1)
    redis.delete("plumage:reaper")
    assert store.reap().requeued == 0
    assert store.commit(taken, make_result())


def test_a_released_job_gets_no_grace(store: JobStore, redis: Redis) -> None:
    submit(store)
    taken = claim(store)
    assert store.release(taken)
    redis.set("plumage:reaped", 1)
    assert store.reap().requeued == 1


def test_one_reaper_at_a_time(store: JobStore, redis: Redis) -> None:
    store.reap()
    submit(store)
    store.release(claim(store))
    assert not any(store.reap().model_dump().values())
    redis.delete("plumage:reaper")
    assert store.reap().requeued == 1


# --- tickets --------------------------------------------------------------------------------------------------------


def test_each_job_rings_once_and_lost_tickets_are_replaced(store: JobStore, redis: Redis) -> None:
    for _ in range(3):
        submit(store)
    assert redis.llen(TICKETS) == 3
    redis.delete(TICKETS)
    assert store.reap().tickets == 3
    assert redis.llen(TICKETS) == 3
    redis.delete("plumage:reaper")
    assert store.reap().tickets == 0
    assert redis.llen(TICKETS) == 3


def test_a_requeued_job_rings_again(store: JobStore, redis: Redis) -> None:
    submit(store)
    redis.lpop(TICKETS)
    lose_lease(store, redis, claim(store))
    assert redis.llen(TICKETS) == 1
    redis.lpop(TICKETS)
    store.hand_back(claim(store))
    assert redis.llen(TICKETS) == 1


# --- order ----------------------------------------------------------------------------------------------------------


def test_priority_orders_the_jobs_of_a_tenant(store: JobStore) -> None:
    usual, urgent, patient, urgent_too = (submit(store, priority=p) for p in (0, 5, -5, 5))
    expected = [urgent, urgent_too, usual, patient]
    assert [store.get(job.id, tenant="local").queue_position for job in expected] == [1, 2, 3, 4]
    assert [claim(store).record.id for _ in expected] == [job.id for job in expected]


def test_a_newcomer_goes_before_a_thousand_jobs_of_another(store: JobStore) -> None:
    for _ in range(50):
        submit(store, tenant="crowd")
    claim(store)
    newcomer = submit(store, tenant="newcomer")
    assert newcomer.queue_position == 1
    assert claim(store).record.id == newcomer.id


def test_tenants_take_turns_and_priority_buys_no_turn(store: JobStore) -> None:
    for _ in range(3):
        submit(store, tenant="a", priority=1000)
        submit(store, tenant="b")
        submit(store, tenant="c")
    order = "".join(claim(store).record.tenant for _ in range(9))
    assert sorted(order[:3]) == sorted(order[3:6]) == sorted(order[6:]) == ["a", "b", "c"]


def test_coming_again_and_again_starves_nobody(store: JobStore) -> None:
    for _ in range(4):
        submit(store, tenant="patient")
    served = []
    for _ in range(8):
        submit(store, tenant="eager")
        served.append(claim(store).record.tenant)
    assert served.count("patient") == 4


def test_queue_positions_are_the_order_of_service(store: JobStore) -> None:
    jobs = [submit(store, tenant=tenant) for tenant in "aaabbacaab"]
    claim(store)
    waiting = [job for job in jobs if status(store, job) is Status.QUEUED]
    positions = {job.id: store.get(job.id, tenant=job.tenant).queue_position for job in waiting}
    assert sorted(positions.values()) == list(range(1, len(waiting) + 1))  # type: ignore[type-var]
    assert [positions[claim(store).record.id] for _ in waiting] == list(range(1, len(waiting) + 1))


# --- admission and listing ------------------------------------------------------------------------------------------


def test_the_queue_is_bounded(client: Redis, job_settings: JobSettings) -> None:
    store = JobStore(client, job_settings.model_copy(update={"max_queued": 2}))
    submit(store)
    submit(store, tenant="other")
    with pytest.raises(QueueFull) as full:
        submit(store)
    assert full.value.retry_after_s > 0
    claim(store)
    submit(store)


def test_submitting_again_returns_the_job_that_is_there(store: JobStore, redis: Redis) -> None:
    job_id = new_job_id()
    first = store.submit(make_spec(), job_id=job_id)
    assert store.submit(make_spec(), job_id=job_id) == first
    assert redis.llen(TICKETS) == 1
    with pytest.raises(InvalidTransition):
        store.submit(make_spec(), job_id=job_id, tenant="other")


@pytest.mark.parametrize("name", ["", "a" * 65, "a/b", "..", "a b", "a\n"])
def test_names_that_could_leave_their_place_are_refused(store: JobStore, name: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        store.submit(make_spec(), job_id=name)
    with pytest.raises(ValueError, match="expected"):
        store.submit(make_spec(), job_id=new_job_id(), tenant=name)


def test_other_tenants_and_unknown_jobs_are_not_found(store: JobStore) -> None:
    job = submit(store, tenant="a")
    for job_id, tenant in ((job.id, "b"), ("nothing", "a")):
        with pytest.raises(JobNotFound):
            store.get(job_id, tenant=tenant)
        with pytest.raises(JobNotFound):
            store.request_cancel(job_id, tenant=tenant)
    assert status(store, job) is Status.QUEUED


def test_after_retention_a_job_is_gone_and_then_unknown(redis: Redis, client: Redis, job_settings: JobSettings) -> None:
    store = JobStore(client, job_settings.model_copy(update={"retention_s": 1, "tombstone_s": 1}))
    job = submit(store, tenant="a")
    store.request_cancel(job.id, tenant="a")
    assert 0 < redis.pttl(f"plumage:job:{job.id}") <= 1000 < redis.pttl(f"plumage:tomb:{job.id}") <= 2000
    redis.delete(f"plumage:job:{job.id}")
    with pytest.raises(JobGone):
        store.get(job.id, tenant="a")
    with pytest.raises(JobGone):
        store.request_cancel(job.id, tenant="a")
    with pytest.raises(JobNotFound):
        store.get(job.id, tenant="b")
    with pytest.raises(InvalidTransition):
        store.submit(make_spec(), job_id=job.id, tenant="a")
    redis.delete(f"plumage:tomb:{job.id}")
    with pytest.raises(JobNotFound):
        store.get(job.id, tenant="a")


def test_waiting_and_running_jobs_never_expire(store: JobStore, redis: Redis) -> None:
    submit(store)
    submit(store)
    taken = claim(store)
    assert [redis.ttl(key) for key in redis.keys("plumage:job:*")] == [-1, -1]
    store.hand_back(taken)
    assert [redis.ttl(key) for key in redis.keys("plumage:job:*")] == [-1, -1]


def test_listing_goes_through_all_jobs_newest_first(store: JobStore, redis: Redis) -> None:
    jobs = [submit(store, tenant="a").id for _ in range(5)]
    submit(store, tenant="b")
    seen, cursor = [], None
    while True:
        page = store.list_jobs(tenant="a", limit=2, cursor=cursor)
        seen.append([record.id for record in page.items])
        if (cursor := page.next) is None:
            break
    assert seen == [jobs[:2:-1], jobs[2:0:-1], jobs[:1]]
    redis.delete(f"plumage:job:{jobs[3]}")
    assert [record.id for record in store.list_jobs(tenant="a").items] == [*jobs[:3], jobs[4]][::-1]
    assert store.list_jobs(tenant="nobody").items == []


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_has_bounds(store: JobStore, limit: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        store.list_jobs(tenant="a", limit=limit)


@pytest.mark.parametrize("cursor", ["", "x", "-1", "(3", "1 2", "9" * 16])
def test_a_forged_cursor_is_refused(store: JobStore, cursor: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        store.list_jobs(tenant="a", cursor=cursor)


def test_job_ids_sort_by_age_and_do_not_repeat() -> None:
    ids = []
    for _ in range(20):
        ids.append(new_job_id())
        time.sleep(0.002)
    assert ids == sorted(set(ids))
    assert all(id_.isalnum() and len(id_) == 36 for id_ in ids)


# --- workers --------------------------------------------------------------------------------------------------------


def test_workers_say_what_they_do_and_are_forgotten_in_silence(client: Redis, job_settings: JobSettings) -> None:
    store = JobStore(client, job_settings.model_copy(update={"lease_s": 0.8}))
    model = ModelIdentity(id="mini", revision="1", device="cpu", dtype="float32")
    report = WorkerReport(worker_id="w1", state=WorkerState.READY, model=model, detail="")
    assert store.workers() == []
    store.report_worker(report)
    store.report_worker(report.model_copy(update={"state": WorkerState.BUSY}))
    assert store.workers() == [report.model_copy(update={"state": WorkerState.BUSY})]
    time.sleep(1.7)
    assert store.workers() == []


# --- Redis away -----------------------------------------------------------------------------------------------------


def test_without_redis_every_call_fails_within_two_seconds(tmp_path_factory: pytest.TempPathFactory) -> None:
    nowhere = tmp_path_factory.mktemp("nowhere") / "redis.sock"
    store = JobStore(connect_redis(f"unix://{nowhere}"), JobSettings())
    calls: list[Callable[[], object]] = [
        lambda: submit(store),
        lambda: store.get("x", tenant="a"),
        lambda: store.claim("w"),
        store.reap,
        store.workers,
    ]
    for call in calls:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            call()
        assert time.monotonic() - began < 2


def test_a_full_server_is_an_unavailable_store(store: JobStore, redis: Redis) -> None:
    redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreUnavailable):
            submit(store)
    finally:
        redis.config_set("maxmemory", 0)
    submit(store)


def test_scripts_survive_a_restarted_server(store: JobStore, redis: Redis, redis_server: EmbeddedRedis) -> None:
    submit(store)
    redis.script_flush()
    assert claim(store).attempt == 1


def test_a_listing_of_one_status_looks_at_a_bounded_number_of_jobs(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.stores.job_store.LOOKED_AT_MOST", 150)
    ids = [submit(store).id for _ in range(160)]
    store.request_cancel(ids[0], tenant="local")
    first = store.list_jobs(tenant="local", status=Status.CANCELED)
    assert (first.items, first.next is not None) == ([], True)
    second = store.list_jobs(tenant="local", status=Status.CANCELED, cursor=first.next)
    assert ([record.id for record in second.items], second.next) == ([ids[0]], None)
    unfiltered = store.list_jobs(tenant="local", limit=100)
    assert len(unfiltered.items) == 100
    assert len(store.list_jobs(tenant="local", limit=100, cursor=unfiltered.next).items) == 60
