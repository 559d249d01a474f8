"""API keys: who may call, for which tenant, and how far.

A key is `plumage_<id>_<secret>`, 256 random bits. Only its SHA-256 is stored, which is enough for a secret that
nobody can guess. An expired or revoked key is forgotten by Redis itself, so every unknown key is refused alike.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from redis import Redis

from jobs.base import StoredModel
from jobs.errors import KeyRefused, KeyUnknown
from jobs.schema import check_name
from jobs.settings import JobSettings
from jobs.stores.scripts import Scripts, fields_of, to_datetime

LABEL_MAX = 100
_TOKEN = re.compile(r"plumage_([0-9a-f]{16})_[0-9a-f]{64}")
_ID = re.compile(r"[0-9a-f]{16}")
_NOBODY = "no digest"


class Scope(StrEnum):
    SUBMIT = "submit"
    """Start, change and end jobs."""
    READ = "read"
    """Look at jobs and fetch what they made."""
    ADMIN = "admin"
    """Both, and what concerns the whole service."""


class ApiKey(StoredModel):
    """All that is known of a key, but for its secret."""

    id: str
    tenant: str
    label: str
    """For people: who has it."""
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None

    def allows(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes


class ApiKeys:
    """Every method raises StoreUnavailable when Redis cannot serve. Safe to share between threads."""

    def __init__(self, redis: Redis, settings: JobSettings) -> None:
        self._scripts = Scripts(redis, settings.prefix)

    def create(
        self, tenant: str, scopes: Iterable[Scope], *, label: str = "", ttl_s: int | None = None
    ) -> tuple[str, ApiKey]:
        """The secret token, which cannot be had again, and what is stored. Without `ttl_s` it never expires.

        Raises ValueError for a tenant, a label, scopes or a time that cannot be.
        """
        granted = sorted(set(scopes))
        check_name("tenant", tenant)
        if not granted:
            raise ValueError("a key without a scope would be of no use")
        if len(label) > LABEL_MAX or not label.isprintable():
            raise ValueError(f"label: at most {LABEL_MAX} printable characters expected")
        if ttl_s is not None and not 1 <= ttl_s <= 100 * 366 * 86_400:
            raise ValueError("a key lives from one second to a hundred years")
        key_id = secrets.token_hex(8)
        token = f"plumage_{key_id}_{secrets.token_hex(32)}"
        self._scripts.call("keys_add", key_id, _digest(token), tenant, label, ",".join(granted), (ttl_s or 0) * 1000)
        return token, self.authenticate(token)

    def authenticate(self, token: str) -> ApiKey:
        """Raises KeyRefused, without a reason: unknown, expired, revoked and misspelt keys are alike."""
        found = _TOKEN.fullmatch(token)
        stored = fields_of(self._scripts.call("keys_find", found[1])) if found else {}
        if not hmac.compare_digest(stored.get("digest", _NOBODY), _digest(token)):
            raise KeyRefused("This key is not valid.")
        return _read(stored)

    def list_keys(self) -> list[ApiKey]:
        """All keys that can be used now, oldest first."""
        answer = self._scripts.call("keys_list")
        assert isinstance(answer, list)
        return [_read(fields_of(fields)) for fields in answer]

    def revoke(self, key_id: str) -> None:
        """From now on the key is refused. Raises KeyUnknown when there is none."""
        if not _ID.fullmatch(key_id) or self._scripts.call("keys_remove", key_id) != 1:
            raise KeyUnknown("There is no key with this id.")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _read(fields: dict[str, str]) -> ApiKey:
    ends = int(fields["expires_at"])
    return ApiKey(
        id=fields["id"],
        tenant=fields["tenant"],
        label=fields["label"],
        scopes=frozenset(Scope(name) for name in fields["scopes"].split(",")),
        created_at=to_datetime(fields["created_at"]),
        expires_at=to_datetime(ends) if ends else None,
    )
