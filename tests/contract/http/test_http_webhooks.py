"""Webhooks, from the submission to a real receiver, which checks signatures with the published library."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from redis import Redis
from standardwebhooks import Webhook, WebhookVerificationError

from cli.stack.children import spawn, stop
from jobs.schema import JobError
from jobs.stores.api_keys import Scope
from service.outbound import Outbound, UnrestrictedOutbound
from service.routes import webhooks as route
from service.settings import ServiceSettings
from service.signed_urls import SignedUrls
from service.webhooks.deliverer import Deliverer, DeliverySettings
from service.webhooks.payload import body_of
from tests.contract.http.conftest import REFERENCE, TARGET, Stack, StartStack
from tests.contract.http.player import MAP, claim, finish
from tests.contract.http.problems import problem
from tests.contract.http.receiver import Receiver, wait_until

ALL = ["queued", "running", "succeeded", "failed", "canceled", "expired"]
QUICK = DeliverySettings(first_pause_s=0.2, longest_pause_s=0.4, timeout_s=5)
Deliver = Callable[..., None]


@pytest.fixture
def stack(start_stack: StartStack) -> Stack:
    return start_stack(ServiceSettings(webhooks_private=True))


@pytest.fixture
def secret(stack: Stack) -> str:
    return stack.stores.webhook_secrets.create("local").token


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().listening() as listening:
        yield listening


@contextmanager
def delivering(stack: Stack, settings: DeliverySettings, outbound: Outbound) -> Iterator[None]:
    stores = stack.stores
    urls = SignedUrls.from_settings(ServiceSettings(), stores.shared_secrets, stack.objects)
    body = partial(body_of, base_url="", file=urls.file)
    deliverer = Deliverer(stores.outbox, stores.webhook_secrets, settings, outbound, body)
    with start_blocking_portal() as portal:
        enough = portal.call(anyio.Event)
        running = portal.start_task_soon(deliverer.run, enough)
        try:
            yield
        finally:  # the portal's thread ends with the block, whatever became of the test
            portal.call(enough.set)
            running.result(30)


@pytest.fixture
def deliver(stack: Stack) -> Iterator[Deliver]:
    """Starts what sends webhooks, here in this process."""
    with ExitStack() as exits:

        def start(settings: DeliverySettings = QUICK, outbound: Outbound | None = None) -> None:
            exits.enter_context(delivering(stack, settings, outbound or UnrestrictedOutbound()))

        yield start


def hook(receiver: Receiver, *events: str) -> str:
    return json.dumps({"url": receiver.url, "events": events or ALL})


def look(stack: Stack, record: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = stack.http.get(record["urls"]["self"]).json()
    return found


def deliveries(stack: Stack, record: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = look(stack, record)["webhook"]["deliveries"]
    return found


def test_a_job_tells_its_states_in_order_and_signed(
    stack: Stack, secret: str, receiver: Receiver, deliver: Deliver
) -> None:
    deliver()
    record = stack.submitted(webhook=hook(receiver), metadata='{"order": "17"}')
    finish(stack, claim(stack))
    arrivals = receiver.wait_for(3)
    events = [arrival.verified(secret) for arrival in arrivals]
    assert [event["type"] for event in events] == ["transfer.queued", "transfer.running", "transfer.succeeded"]
    assert [event["data"]["status"] for event in events] == ["queued", "running", "succeeded"]
    assert all(event["data"]["id"] == record["id"] for event in events)
    assert all(arrival.headers["content-type"] == "application/json" for arrival in arrivals)
    wait_until(lambda: all(each["status"] == "delivered" for each in deliveries(stack, record)))
    now = look(stack, record)
    assert [each["id"] for each in now["webhook"]["deliveries"]] == [arrival.id for arrival in arrivals]
    assert events[-1]["data"] == {**now, "webhook": {**now["webhook"], "deliveries": []}}
    assert events[-1]["data"]["metadata"] == {"order": "17"}


def test_a_matching_job_tells_too_and_what_it_made_needs_no_key(
    stack: Stack, secret: str, receiver: Receiver, deliver: Deliver
) -> None:
    deliver()
    parts = {"target": ("a.png", TARGET), "reference": ("b.jpg", REFERENCE)}
    answer = stack.http.post("/v1/matches", files={**parts, "webhook": (None, hook(receiver, "succeeded"))})
    assert answer.status_code == 202, answer.text
    finish(stack, claim(stack))
    (arrival,) = receiver.wait_for(1)
    event = arrival.verified(secret)
    assert (event["type"], event["data"]["id"]) == ("matches.succeeded", answer.json()["id"])
    assert stack.http.get(event["data"]["result"]["url"]).content == MAP
    assert look(stack, answer.json())["result"] == event["data"]["result"]


def test_a_matching_job_is_refused_without_a_secret_too(stack: Stack, receiver: Receiver) -> None:
    parts = {"target": ("a.png", TARGET), "reference": ("b.jpg", REFERENCE)}
    answer = stack.http.post("/v1/matches", files={**parts, "webhook": (None, hook(receiver))})
    problem(answer, 409, "webhook_secret_missing")


def test_only_what_was_asked_for_is_sent(stack: Stack, secret: str, receiver: Receiver, deliver: Deliver) -> None:
    failing = stack.submitted(webhook=hook(receiver, "failed", "canceled"))
    assert stack.store.fail(claim(stack), JobError(code="worker_lost", message="Gone."))
    canceled = stack.submitted(webhook=json.dumps({"url": receiver.url}))
    stack.http.post(canceled["urls"]["cancel"])
    stack.submitted()
    deliver()
    found = {arrival.verified(secret)["data"]["id"]: arrival for arrival in receiver.wait_for(2)}
    assert found[failing["id"]].verified(secret)["data"]["error"]["code"] == "worker_lost"
    assert found[canceled["id"]].verified(secret)["type"] == "transfer.canceled"
    assert look(stack, canceled)["webhook"]["events"] == ["succeeded", "failed", "canceled", "expired"]


def test_both_secrets_sign_while_one_takes_the_place_of_the_other(
    stack: Stack, secret: str, receiver: Receiver, deliver: Deliver
) -> None:
    deliver()
    secrets = stack.stores.webhook_secrets
    new = secrets.create("local", overlap_s=3600).token
    stack.submitted(webhook=hook(receiver, "queued"))
    (both,) = receiver.wait_for(1)
    assert both.verified(secret) == both.verified(new)
    assert len(both.headers["webhook-signature"].split(" ")) == 2
    secrets.revoke("local", secrets.of("local")[1].id)
    stack.submitted(webhook=hook(receiver, "queued"))
    last = receiver.wait_for(2)[1]
    assert last.verified(new)["type"] == "transfer.queued"
    for wrong in (secret, secrets.create("rival").token):
        with pytest.raises(WebhookVerificationError):
            last.verified(wrong)
    with pytest.raises(WebhookVerificationError):
        Webhook(new).verify(last.body.replace(b"queued", b"failed"), last.headers)


def test_a_receiver_that_is_away_gets_it_when_it_is_back(stack: Stack, secret: str, deliver: Deliver) -> None:
    receiver = Receiver()
    with receiver.listening():
        pass  # a port where nobody listens
    deliver()
    record = stack.submitted(webhook=hook(receiver, "queued"))
    wait_until(lambda: deliveries(stack, record)[0]["attempts"] >= 2)
    assert deliveries(stack, record)[0]["error"] == "url_unreachable"
    with receiver.listening():
        (arrival,) = receiver.wait_for(1)
        assert arrival.verified(secret)["type"] == "transfer.queued"
        wait_until(lambda: deliveries(stack, record)[0]["status"] == "delivered")


def test_every_attempt_has_the_same_id_and_a_fresh_signature(
    stack: Stack, secret: str, receiver: Receiver, deliver: Deliver
) -> None:
    receiver.answers = [500, 302]
    deliver(QUICK.model_copy(update={"first_pause_s": 1.2, "longest_pause_s": 1.2}))
    stack.submitted(webhook=hook(receiver, "queued"))
    arrivals = receiver.wait_for(3)
    assert len({arrival.id for arrival in arrivals}) == 1
    assert len({arrival.body for arrival in arrivals}) == 1
    assert len({arrival.headers["webhook-signature"] for arrival in arrivals}) >= 2
    assert {arrival.path for arrival in arrivals} == {"/hook"}  # the redirect led nowhere


def test_after_the_last_attempt_the_record_says_why(
    stack: Stack, secret: str, receiver: Receiver, deliver: Deliver
) -> None:
    receiver.answers = [500, 503]
    deliver(QUICK.model_copy(update={"max_attempts": 2}))
    record = stack.submitted(webhook=hook(receiver, "queued"))
    wait_until(lambda: deliveries(stack, record)[0]["status"] == "failed")
    (delivery,) = deliveries(stack, record)
    assert (delivery["attempts"], delivery["http_status"], delivery["error"]) == (2, 503, "http_503")
    assert delivery["next_attempt_at"] is None
    assert len(receiver.arrivals) == 2
    assert look(stack, record)["status"] == "queued"  # the job does not mind


def test_410_ends_the_webhook_of_a_job(stack: Stack, secret: str, receiver: Receiver, deliver: Deliver) -> None:
    receiver.answers = [410]
    deliver()
    record = stack.submitted(webhook=hook(receiver))
    wait_until(lambda: deliveries(stack, record)[0]["status"] == "failed")
    finish(stack, claim(stack))
    other = stack.submitted(webhook=hook(receiver, "queued"))
    wait_until(lambda: deliveries(stack, other)[0]["status"] == "delivered")
    assert receiver.types == ["transfer.queued", "transfer.queued"]
    assert [each["error"] for each in deliveries(stack, record)] == ["gone"]


def test_a_slow_receiver_is_cut_off_and_holds_up_nobody(
    stack: Stack, secret: str, receiver: Receiver, deliver: Deliver
) -> None:
    stack.stores.webhook_secrets.create("acme")
    receiver.answers = [8000, 8000]
    deliver(QUICK.model_copy(update={"timeout_s": 1.0, "at_once": 3, "at_once_per_tenant": 2, "max_attempts": 1}))
    slow = [stack.submitted(webhook=hook(receiver, "queued")) for _ in range(2)]
    receiver.wait_for(2)
    began = time.monotonic()
    stack.stores.outbox.post_test("acme", receiver.url)
    assert receiver.wait_for(3)[2].verified(stack.stores.webhook_secrets.of("acme")[0].token)["type"] == "test"
    assert time.monotonic() - began < 5
    for record in slow:
        wait_until(lambda record=record: deliveries(stack, record)[0]["status"] == "failed", 5)  # type: ignore[misc]
        assert deliveries(stack, record)[0]["error"] == "url_unreachable"


def test_nothing_is_lost_with_the_process_that_sends(
    stack: Stack, secret: str, receiver: Receiver, redis: Redis, webhooks_url: str
) -> None:
    """Killed while the receiver thinks; the next process sends the same event again, and those that came meanwhile."""
    environment = {
        "PLUMAGE_REDIS_URL": webhooks_url,
        "PLUMAGE_WEBHOOKS_PRIVATE": "1",
        "PLUMAGE_WEBHOOK_TIMEOUT_S": "60",
    }
    receiver.answers = [60_000]
    record = stack.submitted(webhook=hook(receiver))
    events = [f"{record['id']}-{number}" for number in (1, 2, 3)]
    with ExitStack() as exits:

        def start() -> subprocess.Popen[bytes]:
            child = spawn(["deliver"], environment=environment, log=None)
            exits.callback(stop, [child], grace_s=0)
            return child

        first = start()
        receiver.wait_for(1, 120)
        first.kill()
        first.wait()
        finish(stack, claim(stack))  # nobody who could send is alive
        seen = [(each["status"], each["attempts"]) for each in deliveries(stack, record)]
        assert seen == [("pending", 1), ("pending", 0), ("pending", 0)]
        for line in ("outbox", "flights"):  # the lease of 70 s runs out
            assert redis.zadd(f"plumage:{line}:local", {events[0]: 0}, xx=True, ch=True) == 1
        second = start()
        wait_until(lambda: [each["status"] for each in deliveries(stack, record)] == ["delivered"] * 3, 120)
        second.terminate()
        assert second.wait(30) == 0
    assert [arrival.id for arrival in receiver.arrivals] == [events[0], *events]
    assert receiver.arrivals[1].verified(secret)["data"]["status"] == "queued"


def test_what_is_deleted_is_not_told_any_more(stack: Stack, secret: str, receiver: Receiver, deliver: Deliver) -> None:
    record = stack.submitted(webhook=hook(receiver))
    assert stack.http.delete(record["urls"]["self"]).status_code == 204
    stack.submitted(webhook=hook(receiver, "queued"))
    deliver()
    (arrival,) = receiver.wait_for(1)
    assert arrival.verified(secret)["data"]["id"] != record["id"]


def test_a_private_address_is_not_reached_unless_the_operator_says_so(
    start_stack: StartStack, receiver: Receiver
) -> None:
    stack = start_stack()
    stack.stores.webhook_secrets.create("local")
    for url in (receiver.url, f"https://127.0.0.1:{receiver.port}/hook", "ftp://example.com", "nonsense"):
        body = problem(stack.submit(webhook=json.dumps({"url": url})), 422, "url_refused")
        assert body["errors"][0]["pointer"] == "/webhook/url"
        problem(stack.http.post("/v1/webhooks/test", json={"url": url}), 422, "url_refused")
    record = stack.submitted(webhook='{"url": "https://127.0.0.1/hook", "events": ["queued"]}')
    with delivering(stack, QUICK.model_copy(update={"max_attempts": 1}), Outbound()):
        wait_until(lambda: deliveries(stack, record)[0]["status"] == "failed")
    assert deliveries(stack, record)[0]["error"] == "url_unreachable"
    assert stack.inputs() != []
    assert receiver.arrivals == []


@pytest.mark.parametrize(
    ("webhook", "pointer"),
    [
        ("https://receiver.example", "/webhook"),
        ("[]", "/webhook"),
        ("{}", "/webhook/url"),
        ('{"url": ""}', "/webhook/url"),
        ('{"url": "https://a.example", "url": "https://b.example"}', "/webhook"),
        ('{"url": "https://a.example", "events": []}', "/webhook/events"),
        ('{"url": "https://a.example", "events": ["canceling"]}', "/webhook/events/0"),
        ('{"url": "https://a.example", "secret": "x"}', "/webhook/secret"),
    ],
)
def test_what_is_no_webhook_is_refused(stack: Stack, secret: str, webhook: str, pointer: str) -> None:
    body = problem(stack.submit(webhook=webhook), 422, "invalid_request")
    assert body["errors"][0]["pointer"] == pointer
    assert stack.inputs() == []


def test_without_a_secret_there_are_no_webhooks(stack: Stack, receiver: Receiver) -> None:
    problem(stack.submit(webhook=hook(receiver)), 409, "webhook_secret_missing")
    problem(stack.http.post("/v1/webhooks/test", json={"url": receiver.url}), 409, "webhook_secret_missing")


def test_the_webhook_is_part_of_what_is_submitted(stack: Stack, secret: str, receiver: Receiver) -> None:
    key = {"Idempotency-Key": "k"}
    first = stack.submitted(headers=key, webhook=hook(receiver), seed=1)
    assert stack.submitted(headers=key, webhook=hook(receiver), seed=1)["id"] == first["id"]
    problem(stack.submit(headers=key, webhook=hook(receiver, "failed"), seed=1), 422, "idempotency_key_reused")


def test_a_receiver_can_be_tried_out(stack: Stack, secret: str, receiver: Receiver, deliver: Deliver) -> None:
    deliver()
    good = stack.http.post("/v1/webhooks/test", json={"url": receiver.url})
    assert good.status_code == 200
    assert (good.json()["status"], good.json()["http_status"], good.json()["attempts"]) == ("delivered", 204, 1)
    (arrival,) = receiver.wait_for(1)
    assert arrival.verified(secret)["type"] == "test"
    assert arrival.id == good.json()["id"]
    receiver.answers = [500]
    bad = stack.http.post("/v1/webhooks/test", json={"url": receiver.url}).json()
    assert (bad["status"], bad["http_status"], bad["error"], bad["attempts"]) == ("failed", 500, "http_500", 1)
    problem(stack.http.post("/v1/webhooks/test", json={"uri": receiver.url}), 422, "invalid_request")
    problem(stack.http.post("/v1/webhooks/test", content=b"{"), 422, "invalid_request")


def test_it_is_said_when_nobody_delivers(
    stack: Stack, secret: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route, "WAIT_S", 0.5)
    problem(stack.http.post("/v1/webhooks/test", json={"url": receiver.url}), 503, "webhooks_stalled")


def test_a_tenant_signs_with_its_own_secrets(start_stack: StartStack, receiver: Receiver) -> None:
    stack = start_stack(ServiceSettings(webhooks_private=True, require_keys=True))
    token, _ = stack.keys.create("acme", [Scope.SUBMIT])
    headers = {"Authorization": f"Bearer {token}"}
    stack.stores.webhook_secrets.create("local")
    problem(stack.submit(headers, webhook=hook(receiver)), 409, "webhook_secret_missing")
    own = stack.stores.webhook_secrets.create("acme").token
    with delivering(stack, QUICK, UnrestrictedOutbound()):
        assert stack.submit(headers, webhook=hook(receiver, "queued")).status_code == 202
        assert receiver.wait_for(1)[0].verified(own)["type"] == "transfer.queued"
