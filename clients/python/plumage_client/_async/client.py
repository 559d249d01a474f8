"""The client: one object, with a part for every kind of thing that the API knows."""

from collections.abc import Callable
from os import PathLike
from types import TracebackType
from typing import Any, Self

import httpx

from plumage_client._async.assets import AsyncAssets
from plumage_client._async.batches import AsyncBatches
from plumage_client._async.matchings import AsyncMatchings
from plumage_client._async.transfers import AsyncTransfers
from plumage_client._async.transport import AsyncTransport
from plumage_client.models import Asset, Matching, Transfer
from plumage_client.pictures import Picture, write_picture
from plumage_client.retries import Retries

TIMEOUT_S = 90.0
"""Longer than the API ever waits with an answer."""


class AsyncPlumage:
    """A connection to one Plumage API. Use it as a context manager, or `aclose` it."""

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        retries: Retries | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """`key` is what `plumage keys create` printed. `http` replaces the connection pool, for proxies and
        certificates; base URL and key are set on it."""
        self._http = http or httpx.AsyncClient(timeout=TIMEOUT_S)
        self._http.base_url = httpx.URL(base_url)
        if key is not None:
            self._http.headers["Authorization"] = f"Bearer {key}"
        transport = AsyncTransport(self._http, retries or Retries())
        self.transfers = AsyncTransfers(transport, "/v1/transfers", Transfer)
        self.matches = AsyncMatchings(transport, "/v1/matches", Matching)
        self.assets = AsyncAssets(transport)
        self.batches = AsyncBatches(transport)

    async def run(
        self,
        target: Picture | Asset,
        reference: Picture | Asset,
        *,
        on_change: Callable[[Transfer], object] | None = None,
        timeout_s: float | None = None,
        out: str | PathLike[str] | None = None,
        **options: Any,
    ) -> Transfer:
        """Submits a transfer, follows it to its end and writes the picture to the file `out`.

        `options` are those of `transfers.submit`. Raises what it and `transfers.wait` raise.
        """
        job = await self.transfers.submit(target, reference, **options)
        job = await self.transfers.wait(job, on_change=on_change, timeout_s=timeout_s)
        if out is not None:
            write_picture(out, await self.transfers.result(job.id))
        return job

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
