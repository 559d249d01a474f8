"""What a webhook receives: the event as JSON, and a signature, as in https://www.standardwebhooks.com.

Signed are the id, the moment of sending and the body, with every secret that the tenant has, so that a receiver can
change from one to the next whenever it likes.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import UTC, datetime

from jobs.stores.outbox import ClaimedDelivery
from jobs.stores.webhook_secrets import WebhookSecret, WebhookSecrets
from service.errors import Problem
from service.outbound import Outbound, UnrestrictedOutbound, UrlRefused
from service.schemas.job import SignFile, shown_job
from service.schemas.problem import FieldError


def body_of(delivery: ClaimedDelivery, base_url: str, file: SignFile) -> bytes:
    """`type`, `timestamp` and `data`: the job as it was when it came to this state, with links that are made now.

    Raises StoreUnavailable and ObjectsUnavailable when a link cannot be made.
    """
    data, event_type = {}, delivery.event
    if delivery.record is not None:
        record = delivery.record.model_copy(update={"deliveries": ()})
        data = shown_job(record, base_url, file).model_dump(mode="json")
        event_type = f"{record.spec.kind}.{delivery.event}"
    happened = datetime.fromtimestamp(delivery.created_ms / 1000, UTC)
    event = {"type": event_type, "timestamp": happened.isoformat().replace("+00:00", "Z"), "data": data}
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def headers_of(event_id: str, body: bytes, secrets: Sequence[WebhookSecret], sent_at_s: int) -> dict[str, str]:
    """The three headers of Standard Webhooks. `sent_at_s` counts from 1970."""
    signed = b".".join((event_id.encode(), str(sent_at_s).encode(), body))
    digests = (hmac.digest(secret.key, signed, hashlib.sha256) for secret in secrets)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(sent_at_s),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }


def webhook_outbound(private: bool) -> Outbound:
    """How webhooks are sent; `private` allows every address and port, and plain http."""
    return UnrestrictedOutbound() if private else Outbound()


def require_deliverable(url: str, tenant: str, secrets: WebhookSecrets, outbound: Outbound) -> None:
    """Raises Problem when nothing could be sent to this URL, and StoreUnavailable."""
    if not secrets.of(tenant):
        raise Problem("webhook_secret_missing")
    try:
        outbound.check(url)
    except UrlRefused as error:
        wrong = FieldError(pointer="/webhook/url", code=error.code, message=str(error))
        raise Problem(error.code, f"{wrong.pointer}: {wrong.message}", errors=[wrong]) from error
