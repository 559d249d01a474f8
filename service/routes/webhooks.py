"""Webhooks: try out whether a receiver takes what we send."""

import time
from functools import partial

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter

from jobs.webhooks import Delivery, DeliveryStatus
from service.dependencies import CurrentTenant, JobAdmission, Stopping, Stores
from service.errors import Problem
from service.openapi.responses import problems
from service.polling import LOOK_EVERY_S
from service.schemas.webhook import WebhookTest

WAIT_S = 25.0
"""Longer than one attempt takes."""

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])


@router.post(
    "/test",
    operation_id="test_webhook",
    summary="Send a test event",
    response_description="How it went: `delivered` or `failed`.",
    responses=problems(
        "malformed_body",
        "body_too_large",
        "unsupported_media_type",
        "invalid_request",
        "url_refused",
        "webhook_secret_missing",
        "rate_limited",
        "store_unavailable",
        "webhooks_stalled",
    ),
)
async def test_webhook(
    test: WebhookTest, tenant: CurrentTenant, stores: Stores, admission: JobAdmission, stopping: Stopping
) -> Delivery:
    """Sends one event of the type `test` to the URL, signed and delivered as all others are but tried once only, and
    waits for what becomes of it: up to half a minute."""
    await admission.require_deliverable(test.url, tenant)
    delivery_id = await run_sync(stores.outbox.post_test, tenant, test.url)
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and not stopping():
        delivery = await run_sync(partial(stores.outbox.get, delivery_id, tenant=tenant))
        if delivery.status is not DeliveryStatus.PENDING:
            return delivery
        await anyio.sleep(LOOK_EVERY_S)
    raise Problem("webhooks_stalled")
