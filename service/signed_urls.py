"""Links to what jobs have made, for people and programs without a key.

The object store signs them where it can. Where it cannot, a link holds the object's key and the moment it ends, and an
HMAC over both; the API serves it as long as the job exists. Moments are rounded, so that a record that does not change
shows the same one for a while.
"""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property, partial

from jobs.objects import ObjectStore
from jobs.schema import StoredFile
from jobs.stores.shared_secrets import SharedSecrets
from service.errors import Problem
from service.schemas.job import File
from service.settings import ServiceSettings

PATH = "/v1/files"


class Links:
    """Safe to share between threads.

    `signer` is the object store, or None where it cannot sign or clients cannot reach it. `secret` is asked for once,
    when the first link of our own is made or read.
    """

    def __init__(
        self,
        signer: ObjectStore | None,
        secret: Callable[[], bytes],
        *,
        public_url: str | None,
        ttl_s: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._signer = signer
        self._draw = secret
        self._start = (public_url or "").rstrip("/") + PATH
        self._ttl_s = ttl_s
        self._clock = clock

    def file(self, stored: StoredFile) -> File:
        """Raises ObjectsUnavailable and StoreUnavailable."""
        now = self._clock()
        ends = (int(now) // self._ttl_s + 2) * self._ttl_s
        url = self._signer.signed_url(stored.key, ends - now) if self._signer else None
        return File(
            url=url or f"{self._start}/{self._token(stored.key, ends)}",
            url_expires_at=datetime.fromtimestamp(ends, UTC),
            **stored.model_dump(exclude={"key"}),
        )

    def key(self, token: str) -> str:
        """The object's key. Raises Problem `link_refused` for a token that is not ours or whose time is over."""
        claim, _, signature = token.rpartition(".")
        if not hmac.compare_digest(self._sign(claim).encode(), signature.encode()):
            raise Problem("link_refused")
        try:
            ends, key = base64.urlsafe_b64decode(claim).decode().split(" ", 1)
        except (binascii.Error, ValueError) as error:
            raise Problem("link_refused") from error
        if self._clock() >= int(ends):
            raise Problem("link_refused")
        return key

    @cached_property
    def _secret(self) -> bytes:
        return self._draw()

    def _token(self, key: str, ends: int) -> str:
        claim = base64.urlsafe_b64encode(f"{ends} {key}".encode()).decode()
        return f"{claim}.{self._sign(claim)}"

    def _sign(self, claim: str) -> str:
        return hmac.new(self._secret, f"file {claim}".encode(), hashlib.sha256).hexdigest()


def links_of(settings: ServiceSettings, secrets: SharedSecrets, objects: ObjectStore | None) -> Links:
    """The same links in every process with these settings, whether it answers requests or sends webhooks."""
    given = settings.link_secret
    return Links(
        None if settings.links_by_api else objects,
        partial(secrets.get, "links") if given is None else given.get_secret_value().encode,
        public_url=settings.public_url,
        ttl_s=settings.link_ttl_s,
    )
