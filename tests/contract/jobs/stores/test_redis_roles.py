"""The users of `deploy/redis-acl.conf`: each can do its work, and nothing else."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import get_args

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError

from cli.stack.embedded import EmbeddedRedis, start_redis
from jobs.garbage_collector import GarbageCollector
from jobs.objects import ObjectStore
from jobs.schema import JobError, Status, WorkerReport, WorkerState
from jobs.settings import JobSettings
from jobs.stores.api_keys import ApiKeys, Scope
from jobs.stores.connection import connect_redis
from jobs.stores.idempotency import IdempotencyKey
from jobs.stores.job_store import new_job_id
from jobs.stores.outbox import Outcome
from jobs.stores.redis_stores import RedisStores
from jobs.stores.shared_secrets import SharedSecrets
from jobs.stores.ticket_queue import TASK_NAME
from jobs.webhooks import Webhook
from service.middleware.auth import RateLimiter
from tests.roles import RULES, Role, acl_options, as_role
from tests.specs import make_result, make_spec
from worker.rq_worker import make_worker
from worker.shutdown import Shutdown

REFUSED = "can't access|can't run|No permissions|ACL failure"
"""What a script's caller is answered; the words differ between versions."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    folder = tmp_path_factory.mktemp("acl")
    with start_redis(folder, fsync="everysec", more=acl_options(folder)) as server:
        yield server


@pytest.fixture
def everything(server: EmbeddedRedis) -> Iterator[Redis]:
    """An empty database, seen by a user who may do everything."""
    with connect_redis(server.url) as client:
        client.flushall()
        client.acl_log_reset()
        yield client


def stores_of(server: EmbeddedRedis, role: Role, tmp_path: Path) -> RedisStores:
    url = as_role(server.url, role)
    settings = JobSettings(redis_url=url, data_dir=tmp_path, lease_s=0.3, reap_every_s=0.02)
    return RedisStores.open(connect_redis(url), settings)


@pytest.mark.parametrize("role", get_args(Role))
@pytest.mark.parametrize(
    "command",
    [
        "FLUSHALL",
        "FLUSHDB",
        "KEYS *",
        "SCAN 0",
        "CONFIG GET *",
        "CONFIG SET appendonly no",
        "MODULE LIST",
        "DEBUG SLEEP 0",
        "EVAL return(1) 0",
        "SCRIPT FLUSH",
        "ACL LIST",
        "CLIENT LIST",
        "SHUTDOWN NOSAVE",
        "SAVE",
        "REPLICAOF NO ONE",
        "MONITOR",
        "MIGRATE 127.0.0.1 1 plumage:x 0 1",
        "RESTORE plumage:x 0 x",
        "SORT plumage:x",
        "GET other:key",
        "SET other:key x",
        "PUBLISH other x",
        "SUBSCRIBE other",
    ],
)
@pytest.mark.usefixtures("everything")
def test_what_no_role_may_do(server: EmbeddedRedis, role: Role, command: str) -> None:
    with connect_redis(as_role(server.url, role)) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command.split(" "))


@pytest.mark.usefixtures("everything")
def test_a_script_is_bound_as_its_caller(server: EmbeddedRedis) -> None:
    with connect_redis(as_role(server.url, "worker")) as client:
        script = client.register_script("return redis.call(ARGV[1], ARGV[2])")
        for words in (["GET", "plumage:key:0"], ["GET", "other:key"], ["KEYS", "*"]):
            with pytest.raises(ResponseError, match=REFUSED):
                script(args=words)
        assert script(args=["GET", "plumage:turn"]) is None


@pytest.mark.usefixtures("everything")
def test_a_worker_sees_no_keys(server: EmbeddedRedis) -> None:
    settings = JobSettings()
    with connect_redis(as_role(server.url, "api")) as api, connect_redis(as_role(server.url, "worker")) as worker:
        keys = ApiKeys(api, settings)
        token, key = keys.create("acme", [Scope.READ])
        assert keys.authenticate(token) == key
        assert keys.list_keys() == [key]
        stolen = ApiKeys(worker, settings)
        for act in (stolen.list_keys, partial(stolen.authenticate, token), partial(stolen.create, "a", [Scope.ADMIN])):
            with pytest.raises(ResponseError, match=REFUSED):
                act()
        signing = SharedSecrets(api, settings).get("links")
        assert SharedSecrets(api, settings).get("links") == signing
        with pytest.raises(ResponseError, match=REFUSED):
            SharedSecrets(worker, settings).get("links")
        keys.revoke(key.id)
        assert RateLimiter(api, "plumage", "2/minute").count(key.id).remaining == 1


@pytest.mark.usefixtures("everything")
def test_what_signs_webhooks_is_seen_by_the_api_and_by_what_sends_them(server: EmbeddedRedis, tmp_path: Path) -> None:
    api, webhooks, worker = (stores_of(server, role, tmp_path) for role in ("api", "webhooks", "worker"))
    secret = api.webhook_secrets.create("acme")
    assert webhooks.webhook_secrets.of("acme") == [secret]
    assert webhooks.shared_secrets.get("links") == api.shared_secrets.get("links")
    with pytest.raises(ResponseError, match=REFUSED):
        webhooks.shared_secrets.get("else")
    for act in (worker.webhook_secrets.of, worker.webhook_secrets.create):
        with pytest.raises(ResponseError, match=REFUSED):
            act("acme")
    with connect_redis(as_role(server.url, "webhooks")) as client:
        for key in ("plumage:keys", "plumage:key:0", "plumage:leases", "plumage:index:acme", "rq:queue:plumage"):
            with pytest.raises(NoPermissionError):
                client.type(key)


@pytest.mark.usefixtures("everything")
def test_events_are_written_by_those_who_change_the_state_and_sent_by_another(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    api, webhooks, worker = (stores_of(server, role, tmp_path) for role in ("api", "webhooks", "worker"))
    job = new_job_id()
    hook = Webhook(url="https://a.example", events=("queued", "running", "succeeded"))
    api.jobs.submit(make_spec(job_id=job).model_copy(update={"webhook": hook}), job_id=job)
    claim = worker.jobs.claim("w1")
    assert claim is not None
    assert worker.jobs.commit(claim, make_result())
    take = partial(webhooks.outbox.claim, lease_s=60, max_attempts=2, at_once_per_tenant=1)
    went: list[tuple[str, Outcome]] = [("queued", "retry"), ("running", "delivered"), ("succeeded", "gone")]
    for event, outcome in went:
        delivery = take()
        assert delivery is not None
        assert delivery.event == event
        assert webhooks.outbox.settle(delivery, outcome, pause_s=60)
    assert take() is None
    ends = [each.status.value for each in api.jobs.get(job, tenant="local").deliveries]
    assert ends == ["failed", "delivered", "failed"]


def test_a_job_from_submission_to_collection(server: EmbeddedRedis, everything: Redis, tmp_path: Path) -> None:
    """Every script, each by the role that calls it."""
    api, worker = stores_of(server, "api", tmp_path), stores_of(server, "worker", tmp_path)
    ids = [new_job_id() for _ in range(4)]
    key = IdempotencyKey.of("mine", "asked")
    assert api.reservations.reserve(ids[0], tenant="local", key=key) is None
    api.jobs.submit(make_spec(job_id=ids[0]), job_id=ids[0], key=key)
    api.reservations.withdraw(ids[1], tenant="local", key=key)
    for job in ids[1:]:
        api.jobs.submit(make_spec(job_id=job), job_id=job)
    assert [record.id for record in api.jobs.list_jobs(tenant="local").items] == ids[::-1]

    claim = worker.jobs.claim("w1")
    assert claim is not None
    assert worker.jobs.renew(claim).held
    assert worker.jobs.report_progress(claim, 1, 4, "previews/x.jpg").held
    assert worker.jobs.hand_back(claim)
    ends = []
    for end in ("commit", "fail", "cancel", "die"):
        claim = worker.jobs.claim("w1")
        assert claim is not None
        match end:
            case "commit":
                assert worker.jobs.commit(claim, make_result())
            case "fail":
                assert worker.jobs.fail(claim, JobError(code="internal", message="x"))
            case "cancel":
                api.jobs.request_cancel(claim.record.id, tenant="local")
                assert worker.jobs.finish_canceled(claim)
            case "die":
                assert worker.jobs.release(claim)
                time.sleep(0.05)
                assert worker.jobs.reap().requeued == 1
        ends.append(api.jobs.get(claim.record.id, tenant="local").status)
    assert ends == [Status.SUCCEEDED, Status.FAILED, Status.CANCELED, Status.QUEUED]

    report = WorkerReport(worker_id="w1", state=WorkerState.READY, model=None, detail="")
    worker.jobs.report_worker(report)
    assert api.jobs.workers() == [report]
    for job in ids:
        api.jobs.delete(job, tenant="local")
    GarbageCollector(worker, ObjectStore.from_settings(JobSettings(data_dir=tmp_path)), leftover_age_s=0).collect()
    assert everything.zcard("plumage:expiring") == 0


def test_tickets_reach_a_worker(server: EmbeddedRedis, everything: Redis, tmp_path: Path) -> None:
    """RQ's own needs, as it is used here."""
    everything.acl_log_reset()
    api = stores_of(server, "api", tmp_path)
    for _ in range(3):
        job = new_job_id()
        api.jobs.submit(make_spec(job_id=job), job_id=job)
    served: list[int] = []
    with Redis.from_url(as_role(server.url, "worker")) as connection:
        worker = make_worker(connection, "plumage", {TASK_NAME: lambda: served.append(1)}, Shutdown(1.0))
        worker.work(burst=True, logging_level="WARNING")
    assert len(served) == 3
    assert everything.llen("rq:queue:plumage") == 0
    refused = [entry["object"] for entry in everything.acl_log()]
    assert set(refused) <= {"client"}, refused  # redis-py sends its name, and does without


def test_nobody_comes_in_without_a_name() -> None:
    """A live server with these rules is tried in `tests/deploy`."""
    rules = [line for line in RULES.read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "user default off"
    assert [rule.split()[1] for rule in rules] == ["default", *get_args(Role)]
