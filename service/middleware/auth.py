"""Authentication: which requests are let in, decided before anything of their body is read.

With keys: every path but the open ones requires one, a path that does not exist too. Reading needs the scope `read`,
every other method `submit`. The key's tenant is the only one whose jobs the request can name. How many requests a key
may make is counted in Redis, so that all processes of the API share the count.

Without keys, on a loopback address, the danger is a web page in the user's own browser: requests that another site
has caused are refused, and so are names that are not this machine's (DNS rebinding).
"""

import math
import time
from collections.abc import Mapping
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

import structlog
from anyio.to_thread import run_sync
from limits import parse
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis import Redis
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobs.errors import JobsError, KeyRefused
from jobs.stores.api_keys import ApiKeys
from jobs.stores.api_keys import Scope as KeyScope
from jobs.stores.connection import redis_errors
from service.errors import Problem, render
from service.settings import is_loopback

LOCAL_TENANT = "local"
_OPEN_PATHS = ("/", "/docs", "/openapi.json")
_OPEN_FOLDERS = ("/static/", "/healthz/", "/v1/files/")  # a link to a file is a permission in itself
_CHALLENGE = 'Bearer realm="plumage"'


class Identity(NamedTuple):
    """For whom a request acts that is let in."""

    tenant: str
    headers: Mapping[str, str]
    """Further headers of its response."""


class Authenticator(Protocol):
    async def authenticate(self, method: str, headers: Headers) -> Identity:
        """Raises Problem when the request is not let in."""


class AuthMiddleware:
    """Puts the tenant into the request's state, or responds in the app's place."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        try:
            identity = await self._authenticator.authenticate(scope["method"], Headers(scope=scope))
        except Problem as problem:
            await render(problem, path=scope["path"], request_id=state["request_id"])(scope, receive, send)
            return
        state["tenant"] = identity.tenant

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(identity.headers)
            await send(message)

        await self._app(scope, receive, send_marked)


class RateLimitState(NamedTuple):
    """The limit of one key after a request."""

    allowed: bool
    limit: int
    window_s: int
    remaining: int
    reset_s: int
    """Until the count falls."""

    @property
    def headers(self) -> dict[str, str]:
        """As in the IETF draft on RateLimit header fields."""
        return {
            "RateLimit-Policy": f'"key";q={self.limit};w={self.window_s}',
            "RateLimit": f'"key";r={self.remaining};t={self.reset_s}',
        }


class RateLimiter:
    """Counts the requests of each key in a sliding window."""

    def __init__(self, redis: Redis, prefix: str, rate: str) -> None:
        """`rate` is like `600/minute`. Sends nothing yet. Raises ValueError for what is no rate."""
        storage = RedisStorage("redis://", connection_pool=redis.connection_pool, key_prefix=f"{prefix}:rate")
        self._window = SlidingWindowCounterRateLimiter(storage)
        self._rate = parse(rate)

    def count(self, key_id: str) -> RateLimitState:
        """Raises StoreUnavailable."""
        with redis_errors():
            allowed = self._window.hit(self._rate, key_id)
            reset_at, remaining = self._window.get_window_stats(self._rate, key_id)
        reset_s = max(1, math.ceil(reset_at - time.time()))
        return RateLimitState(allowed, self._rate.amount, self._rate.get_expiry(), max(0, remaining), reset_s)


class ApiKeyAuth:
    """Requires `Authorization: Bearer <key>`, and no more requests than the rate."""

    def __init__(self, keys: ApiKeys, limiter: RateLimiter) -> None:
        self._keys = keys
        self._limiter = limiter

    async def authenticate(self, method: str, headers: Headers) -> Identity:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Problem("key_missing", headers={"WWW-Authenticate": _CHALLENGE})
        try:
            key = await run_sync(self._keys.authenticate, token.strip())
            state = await run_sync(self._limiter.count, key.id)
        except KeyRefused as error:
            challenge = f'{_CHALLENGE}, error="invalid_token"'
            raise Problem("key_refused", headers={"WWW-Authenticate": challenge}) from error
        except JobsError as error:
            raise Problem(error.code, str(error)) from error
        structlog.contextvars.bind_contextvars(tenant=key.tenant, key=key.id)
        if not state.allowed:
            raise Problem("rate_limited", retry_after_s=state.reset_s, headers=state.headers)
        scope = KeyScope.READ if method in ("GET", "HEAD", "OPTIONS") else KeyScope.SUBMIT
        if not key.allows(scope):
            challenge = f'{_CHALLENGE}, error="insufficient_scope", scope="{scope}"'
            detail = f"This key has no scope `{scope}`."
            raise Problem("scope_missing", detail, headers={"WWW-Authenticate": challenge, **state.headers})
        return Identity(key.tenant, state.headers)


class LocalAuth:
    """Requires no key. `host_names` are allowed beside loopback ones; None allows all."""

    def __init__(self, host_names: frozenset[str] | None) -> None:
        self._host_names = host_names

    async def authenticate(self, method: str, headers: Headers) -> Identity:
        host = headers.get("host", "")
        name = _host_name(host)
        if self._host_names is not None and not (is_loopback(name) or name in self._host_names):
            raise Problem("host_refused")
        # Browsers send where a request comes from; old ones at least with those that can change something.
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is not None:
            foreign = site not in ("same-origin", "none")
        else:
            foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
        if foreign:
            raise Problem("cross_site")
        return Identity(LOCAL_TENANT, {})


def _is_open(path: str) -> bool:
    return path in _OPEN_PATHS or path.startswith(_OPEN_FOLDERS)


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
