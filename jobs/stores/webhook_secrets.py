"""Secrets with which webhooks are signed: a tenant's own, and several while one takes the place of another.

Signing takes the secret itself, so unlike an API key it is stored as it is. Redis itself forgets those whose time is
over.
"""

import base64
import re
import secrets
from datetime import datetime

from pydantic import Field
from redis import Redis

from jobs.base import StoredModel
from jobs.errors import SecretUnknown
from jobs.schema import check_name
from jobs.settings import JobSettings
from jobs.stores.scripts import Scripts, fields_of, to_datetime

BYTES = 32
_ID = re.compile(r"[0-9a-f]{8}")
_OVERLAP_MAX_S = 366 * 86_400


class WebhookSecret(StoredModel):
    id: str
    token: str = Field(repr=False)
    """`whsec_` and base64, as the libraries for Standard Webhooks take it."""
    created_at: datetime
    expires_at: datetime | None

    @property
    def key(self) -> bytes:
        return base64.b64decode(self.token.removeprefix("whsec_"))


class WebhookSecrets:
    """Every method raises StoreUnavailable when Redis cannot serve. Safe to share between threads."""

    def __init__(self, redis: Redis, settings: JobSettings) -> None:
        self._scripts = Scripts(redis, settings.prefix)

    def create(self, tenant: str, *, overlap_s: int | None = None) -> WebhookSecret:
        """A further secret: what is sent from now on is signed with it too. With `overlap_s` the older ones end then.

        Raises ValueError for a tenant or a time that cannot be.
        """
        check_name("tenant", tenant)
        if overlap_s is not None and not 0 <= overlap_s <= _OVERLAP_MAX_S:
            raise ValueError("old and new secrets may be used side by side for up to a year")
        secret_id = secrets.token_hex(4)
        token = f"whsec_{base64.b64encode(secrets.token_bytes(BYTES)).decode()}"
        self._scripts.call("secrets_add", tenant, secret_id, token, -1 if overlap_s is None else overlap_s)
        return next(secret for secret in self.of(tenant) if secret.id == secret_id)

    def of(self, tenant: str) -> list[WebhookSecret]:
        """Newest first."""
        answer = self._scripts.call("secrets_list", tenant)
        assert isinstance(answer, list)
        return [_read(flat) for flat in answer]

    def revoke(self, tenant: str, secret_id: str) -> None:
        """Nothing is signed with it any more. Raises SecretUnknown when there is none."""
        if not _ID.fullmatch(secret_id) or self._scripts.call("secrets_remove", tenant, secret_id) != 1:
            raise SecretUnknown("There is no webhook secret with this id.")


def _read(flat: list[bytes]) -> WebhookSecret:
    fields = fields_of(flat)
    ends = int(fields["expires_at"])
    return WebhookSecret(
        id=fields["id"],
        token=fields["secret"],
        created_at=to_datetime(fields["created_at"]),
        expires_at=to_datetime(ends) if ends else None,
    )
