"""Requests that are tried again, and answers that are errors."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from plumage_client._clock import asleep
from plumage_client.errors import ApiError, NoConnection, error_of
from plumage_client.retries import Retries, retry_after_s, worth_another


class AsyncTransport:
    """One connection pool. Every request that comes here can be repeated without harm: it reads, is idempotent by
    itself, or carries an Idempotency-Key."""

    def __init__(self, http: httpx.AsyncClient, retries: Retries) -> None:
        self._http = http
        self._retries = retries

    async def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A good answer, below 400. Raises ApiError and NoConnection."""
        attempt = 0
        while True:
            attempt += 1
            try:
                response = await self._http.request(method, path, **options)
            except httpx.TransportError as error:
                pause_s = self._retries.pause_s(attempt)
                if pause_s is None:
                    raise NoConnection(f"{method} {path}: {error!r}") from error
            else:
                if response.status_code < 400:
                    return response
                refusal = refused(response, response.content)
                again = worth_another(refusal.status, refusal.retry_after)
                pause_s = self._retries.pause_s(attempt, refusal.retry_after) if again else None
                if pause_s is None:
                    raise refusal
            await asleep(pause_s)

    @asynccontextmanager
    async def stream(self, path: str, headers: Mapping[str, str], read_s: float) -> AsyncIterator[httpx.Response]:
        """A good answer whose body has not been read, tried once. `read_s` is the longest silence in it.

        Raises ApiError, and httpx.TransportError also while the body is being read.
        """
        timeout = httpx.Timeout(**{**self._http.timeout.as_dict(), "read": read_s})
        async with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
            if response.status_code >= 400:
                raise refused(response, await response.aread())
            yield response


def refused(response: httpx.Response, body: bytes) -> ApiError:
    request_id = response.headers.get("x-request-id", "")
    return error_of(response.status_code, body, request_id=request_id, retry_after=retry_after_s(response.headers))
