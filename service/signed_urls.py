"""Links to what jobs have made, for people and programs without a key.

The object store signs them where it can. Where it cannot, the API serves the file: its link is a signed token of the
object's key and the moment the link ends, good for as long as the job exists. Moments are rounded, so that a record
that does not change has the same link for a while.
"""

import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Self

from itsdangerous import BadData, URLSafeSerializer

from jobs.objects import ObjectStore
from jobs.schema import StoredFile
from jobs.stores.shared_secrets import SharedSecrets
from service.errors import Problem
from service.schemas.job import File
from service.settings import ServiceSettings

PATH = "/v1/files"


class SignedUrls:
    """Safe to share between threads.

    `signer` is the object store, or None where it cannot sign or clients cannot reach it. `secret` is called once,
    when the first link of our own is made or read.
    """

    def __init__(
        self,
        signer: ObjectStore | None,
        secret: Callable[[], bytes],
        *,
        base_url: str,
        ttl_s: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._signer = signer
        self._secret = secret
        self._start = base_url + PATH
        self._ttl_s = ttl_s
        self._clock = clock

    @classmethod
    def from_settings(cls, settings: ServiceSettings, secrets: SharedSecrets, objects: ObjectStore | None) -> Self:
        """The same links in every process with these settings, whether it answers requests or sends webhooks."""
        given = settings.link_secret
        return cls(
            None if settings.links_by_api else objects,
            partial(secrets.get, "links") if given is None else given.get_secret_value().encode,
            base_url=settings.base_url,
            ttl_s=settings.link_ttl_s,
        )

    def file(self, stored: StoredFile) -> File:
        """The file with a link that can be followed for `ttl_s` at least and twice as long at most.

        Raises ObjectsUnavailable and StoreUnavailable.
        """
        now = self._clock()
        ends = (int(now) // self._ttl_s + 2) * self._ttl_s
        url = self._signer.signed_url(stored.key, ends - now) if self._signer else None
        return File(
            url=url or f"{self._start}/{self._tokens.dumps([ends, stored.key])}",
            url_expires_at=datetime.fromtimestamp(ends, UTC),
            **stored.model_dump(exclude={"key"}),
        )

    def key(self, token: str) -> str:
        """The object's key. Raises Problem `link_refused` for a token that is not ours or whose time is over."""
        try:
            ends, key = self._tokens.loads(token)
        except BadData as error:
            raise Problem("link_refused") from error
        if self._clock() >= ends:
            raise Problem("link_refused")
        return str(key)

    @cached_property
    def _tokens(self) -> URLSafeSerializer:
        digest = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
        return URLSafeSerializer(self._secret(), salt="files", signer_kwargs=digest)
