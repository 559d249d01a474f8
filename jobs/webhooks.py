"""A job's webhook, and the deliveries of its events."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from jobs.base import StoredModel

Event = Literal["queued", "running", "succeeded", "failed", "canceled", "expired"]
"""The state that a job has come to."""


class Webhook(StoredModel):
    """Where the events of a job go. Whether this may be reached is decided when they are sent."""

    url: Annotated[str, Field(min_length=1, max_length=2048, json_schema_extra={"format": "uri"})]
    """Gets a signed POST for every event."""
    events: Annotated[tuple[Event, ...], Field(min_length=1)] = ("succeeded", "failed", "canceled", "expired")
    """Which events are sent. When absent: the final ones."""


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Delivery(StoredModel):
    """One event on its way to a webhook, and how that went."""

    id: str
    """The `webhook-id` that the receiver sees, the same with every attempt."""
    event: str
    status: DeliveryStatus
    """`pending` until the receiver has taken it or the last attempt has failed."""
    attempts: int
    http_status: int | None
    """What the receiver answered last."""
    error: str | None
    """Why the last attempt failed, in a word or two."""
    created_at: datetime
    next_attempt_at: datetime | None
    """Null unless pending."""
    settled_at: datetime | None


class WebhookState(Webhook):
    """The webhook as given, and what became of its events."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    deliveries: tuple[Delivery, ...]
    """In the order of the events."""
