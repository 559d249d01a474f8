"""Is a webhook really from the service? Standard Webhooks signatures, <https://www.standardwebhooks.com>."""

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from plumage_client.errors import WebhookRefused

PREFIX = "whsec_"
TOLERANCE_S = 300


class Webhook:
    """Checks messages against one secret, or several while they are being rotated."""

    def __init__(self, secrets: str | Sequence[str]) -> None:
        """Raises ValueError for what is no `whsec_` secret."""
        given = [secrets] if isinstance(secrets, str) else list(secrets)
        self._keys = [_key(secret) for secret in given]
        if not self._keys:
            raise ValueError("no secret given")

    def verify(self, body: bytes | str, headers: Mapping[str, str], *, now: float | None = None) -> Any:
        """The message, read from the raw `body` of the request.

        `now` is seconds since 1970, the clock's by default. Raises WebhookRefused for a message that is unsigned,
        signed with another secret, or more than five minutes old.
        """
        found = {name.lower(): value for name, value in headers.items()}
        try:
            message_id, timestamp = found["webhook-id"], found["webhook-timestamp"]
            signatures = found["webhook-signature"].split()
            age_s = (time.time() if now is None else now) - int(timestamp)
        except (KeyError, ValueError) as error:
            raise WebhookRefused("a header is missing or cannot be read") from error
        if abs(age_s) > TOLERANCE_S:
            raise WebhookRefused("the message is too old, or from the future")
        raw = body.encode() if isinstance(body, str) else body
        signed = b".".join((message_id.encode(), timestamp.encode(), raw))
        if not any(_fits(key, signed, signature) for key in self._keys for signature in signatures):
            raise WebhookRefused("no signature fits")
        return json.loads(raw)


def _key(secret: str) -> bytes:
    if not secret.startswith(PREFIX):
        raise ValueError(f"a secret starts with {PREFIX}")
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("a secret is base64") from error


def _fits(key: bytes, signed: bytes, signature: str) -> bool:
    version, _, given = signature.partition(",")
    made = base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
    return version == "v1" and hmac.compare_digest(made, given.encode())
