"""Sends webhooks: takes events from the outbox, posts them, and records how each attempt went.

Any number of these may run, each with a bounded number of requests at a time; an event that dies with one of them is
taken up by another when its lease ends. A receiver is given little: one connection, a few seconds, nothing but its
status read, no redirect followed.
"""

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import anyio
import structlog
from anyio.abc import TaskGroup
from anyio.to_thread import run_sync
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from jobs.errors import ObjectsUnavailable, StoreUnavailable
from jobs.logs import configure_logs
from jobs.objects import ObjectStore
from jobs.settings import JobSettings
from jobs.stores.connection import connect_redis
from jobs.stores.outbox import TEST_EVENT, ClaimedDelivery, Outbox, Outcome
from jobs.stores.redis_stores import RedisStores
from jobs.stores.webhook_secrets import WebhookSecrets
from service.outbound import Outbound, UrlError, UrlRefused
from service.settings import ServiceSettings
from service.signed_urls import SignedUrls
from service.webhooks.payload import body_of, headers_of, webhook_outbound

LOOK_EVERY_S = 0.5
DRAIN_S = 5.0
"""On SIGTERM: time for requests that are under way. What is cut off is sent again."""
LEASE_MARGIN_S = 10.0
"""From the end of the longest attempt to the moment at which another process may take the event."""
log = structlog.get_logger()


class DeliverySettings(BaseSettings):
    """Each field is the environment variable `PLUMAGE_WEBHOOK_<FIELD>`. Durations are in seconds."""

    model_config = SettingsConfigDict(
        env_prefix="PLUMAGE_WEBHOOK_", env_ignore_empty=True, frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    max_attempts: int = Field(default=10, ge=1, le=30)
    """Attempts at one event before it has failed. With the pauses below, the tenth comes after about 14 hours."""

    first_pause_s: float = Field(default=5.0, gt=0, le=3600)
    """Pause after the first failure; each further one is four times as long, give or take a fifth."""

    longest_pause_s: float = Field(default=14_400.0, gt=0, le=86_400)

    timeout_s: float = Field(default=15.0, gt=0, le=60)
    """Longest attempt, from the look-up of the name to the receiver's answer."""

    at_once: int = Field(default=16, ge=1, le=1000)
    """Requests of one process at the same time."""

    at_once_per_tenant: int = Field(default=4, ge=1, le=1000)
    """Requests for one tenant at the same time, of all processes together."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an attempt went."""

    outcome: Outcome
    http_status: int | None = None
    error: str = ""
    wait_s: float = 0.0
    """The receiver's `Retry-After`."""


class Deliverer:
    def __init__(
        self,
        outbox: Outbox,
        secrets: WebhookSecrets,
        settings: DeliverySettings,
        outbound: Outbound,
        body_of: Callable[[ClaimedDelivery], bytes],
    ) -> None:
        """`body_of` may raise StoreUnavailable and ObjectsUnavailable; the event is then sent later."""
        self._outbox = outbox
        self._secrets = secrets
        self._settings = settings
        self._outbound = outbound
        self._body_of = body_of
        self._places = anyio.Semaphore(settings.at_once)
        lease_s = settings.timeout_s + LEASE_MARGIN_S
        limits = {"max_attempts": settings.max_attempts, "at_once_per_tenant": settings.at_once_per_tenant}
        self._claim = partial(outbox.claim, lease_s=lease_s, **limits)

    async def run(self, stop: anyio.Event) -> None:
        """Delivers until `stop` is set; then what has been begun is brought to its end."""
        async with anyio.create_task_group() as sending:
            while not stop.is_set():
                await self._places.acquire()
                if not await self._begin(sending):
                    self._places.release()
                    with anyio.move_on_after(LOOK_EVERY_S):
                        await stop.wait()

    async def _begin(self, sending: TaskGroup) -> bool:
        """Takes the next event and starts its delivery. False when nothing is due."""
        try:
            delivery = await run_sync(self._claim)
        except StoreUnavailable as error:
            log.warning("webhooks.waiting", reason=error.code)
            return False
        if delivery is not None:
            sending.start_soon(self._deliver, delivery)
        return delivery is not None

    async def _deliver(self, delivery: ClaimedDelivery) -> None:
        try:
            verdict = await self._attempt(delivery)
            last = delivery.event == TEST_EVENT or delivery.attempt >= self._settings.max_attempts
            outcome: Outcome = "failed" if verdict.outcome == "retry" and last else verdict.outcome
            pause_s = max(self._pause_s(delivery.attempt), min(verdict.wait_s, self._settings.longest_pause_s))
            status, error = verdict.http_status, verdict.error
            settle = partial(self._outbox.settle, delivery, outcome, http_status=status, error=error, pause_s=pause_s)
            await run_sync(settle)
            ids = {"webhook": delivery.id, "tenant": delivery.tenant, "attempt": delivery.attempt}
            log.info("webhook.sent", **ids, outcome=outcome, http_status=status, error=error)
        except (StoreUnavailable, ObjectsUnavailable):
            log.warning("webhook.unsettled", webhook=delivery.id)  # sent once more when the lease has ended
        except Exception:
            log.exception("webhook.fault", webhook=delivery.id)  # as above; one event must not stop all others
        finally:
            self._places.release()

    async def _attempt(self, delivery: ClaimedDelivery) -> Verdict:
        """Raises StoreUnavailable, and ObjectsUnavailable when a link cannot be made."""
        secrets = await run_sync(self._secrets.of, delivery.tenant)
        if not secrets:
            return Verdict("retry", error="no_secret")
        body = await run_sync(self._body_of, delivery)
        headers = {"Content-Type": "application/json", **headers_of(delivery.id, body, secrets, int(time.time()))}
        try:
            reply = await self._outbound.send(
                "POST", delivery.url, content=body, headers=headers, max_bytes=0, timeout_s=self._settings.timeout_s
            )
        except UrlError as error:
            return Verdict("failed" if isinstance(error, UrlRefused) else "retry", error=error.code)
        return judge(reply.status, reply.headers.get("retry-after", ""))

    def _pause_s(self, attempt: int) -> float:
        pause_s = min(self._settings.first_pause_s * 4.0 ** (attempt - 1), self._settings.longest_pause_s)
        return pause_s * random.uniform(0.8, 1.2)


def judge(status: int, retry_after: str) -> Verdict:
    """Only 2xx is a success; a redirect is none. 410 ends it; anything else may pass."""
    if 200 <= status < 300:
        return Verdict("delivered", status)
    if status == 410:
        return Verdict("gone", status, "gone")
    seconds = retry_after.strip()
    wait_s = float(seconds) if seconds.isascii() and seconds.isdecimal() and len(seconds) < 10 else 0.0
    return Verdict("retry", status, f"http_{status}", wait_s)


def deliverer() -> Deliverer:
    """As the environment configures it. Raises ValueError without a Redis URL, and pydantic's ValidationError."""
    configure_logs()
    jobs, service, settings = JobSettings(), ServiceSettings(), DeliverySettings()
    if jobs.redis_url is None:
        raise ValueError("PLUMAGE_REDIS_URL is not set; `plumage up` starts a Redis of its own")
    stores = RedisStores.open(connect_redis(jobs.redis_url), jobs)
    # A store that cannot sign, or is not to, is not opened: what sends webhooks needs no way to it and no folder.
    signer = None if service.links_by_api or jobs.objects_url is None else ObjectStore.from_settings(jobs)
    urls = SignedUrls.from_settings(service, stores.shared_secrets, signer)
    body = partial(body_of, base_url=service.base_url, file=urls.file)
    return Deliverer(stores.outbox, stores.webhook_secrets, settings, webhook_outbound(service.webhooks_private), body)


async def deliver_until_stopped(deliverer: Deliverer) -> None:
    """Until SIGTERM or SIGINT."""
    stop = anyio.Event()
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as group:
            group.start_soon(deliverer.run, stop)
            log.info("webhooks.delivering")
            await anext(aiter(signals))
            stop.set()
            group.cancel_scope.deadline = anyio.current_time() + DRAIN_S
    log.info("webhooks.stopped")
