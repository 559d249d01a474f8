"""Where the pictures of a submission come from: parts of a form, assets, or, where that is switched on, URLs."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import anyio
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import UploadFile

from jobs.assets import Asset, asset_key
from jobs.errors import AssetNotFound, ObjectNotFound, UrlError
from jobs.objects import ObjectStore
from jobs.outbound import Outbound
from jobs.store import JobStore
from service.errors import Problem, refuse
from service.forms import NamedPicture
from service.schemas import FieldError

Source = UploadFile | NamedPicture
FETCHES_AT_ONCE = 8
"""Of all requests to one process together; each may hold one picture in memory."""


class Given(NamedTuple):
    """A picture as it was given."""

    read: Callable[[], bytes]
    """One byte more than allowed at most. May raise Problem `asset_not_found`, ObjectsUnavailable and ObjectCorrupt."""
    asset: Asset | None = None
    """What is known of one that was checked when it was uploaded."""


@dataclass(frozen=True, slots=True)
class Sources:
    store: JobStore
    objects: ObjectStore
    outbound: Outbound | None
    """None: URLs are refused."""
    fetches: CapacityLimiter
    max_bytes: int
    timeout_s: float
    """For one picture."""

    async def open(self, given: Mapping[str, Source], pointer: Callable[[str], str], tenant: str) -> dict[str, Given]:
        """The picture of each part. URLs are fetched, all at once; nothing else is read yet.

        Raises Problem `asset_not_found`, `urls_off` or one of a URL, with a pointer to the field, and StoreUnavailable.
        """
        opened: dict[str, Given] = {}
        refused: dict[str, Problem] = {}

        async def one(name: str, opening: Awaitable[Given]) -> None:
            try:
                opened[name] = await opening
            except Problem as problem:
                refused[name] = problem

        try:
            async with anyio.create_task_group() as tasks:
                for name, source in given.items():
                    tasks.start_soon(one, name, self._open(source, tenant))
        except* Exception as group:
            raise group.exceptions[0] from None  # as it would be raised without tasks
        refuse(
            [
                FieldError(pointer=pointer(name), code=refused[name].code, message=refused[name].detail)
                for name in given
                if name in refused
            ]
        )
        return opened

    def of_asset(self, asset_id: str, tenant: str) -> Given:
        """Raises Problem `asset_not_found`, and StoreUnavailable."""
        try:
            asset, _ = self.store.assets.get(asset_id, tenant=tenant)
        except AssetNotFound as error:
            raise Problem(error.code, str(error)) from error
        return Given(partial(self._read, asset, tenant), asset)

    async def _open(self, source: Source, tenant: str) -> Given:
        if not isinstance(source, NamedPicture):
            # One byte over the cap is enough to refuse a file without reading all of it.
            return Given(partial(source.file.read, self.max_bytes + 1))
        if source.asset is not None:
            return await run_sync(self.of_asset, source.asset, tenant)
        assert source.url is not None
        data = await self._fetched(source.url)
        return Given(lambda: data)

    def _read(self, asset: Asset, tenant: str) -> bytes:
        try:
            return self.objects.get(asset_key(tenant, asset.id, asset.copy_id))
        except ObjectNotFound as error:
            raise Problem("asset_not_found") from error

    async def _fetched(self, url: str) -> bytes:
        if self.outbound is None:
            raise Problem("urls_off")
        try:
            async with self.fetches:
                reply = await self.outbound.send("GET", url, max_bytes=self.max_bytes, timeout_s=self.timeout_s)
        except UrlError as error:
            raise Problem(error.code, str(error)) from error
        if reply.status != 200:
            raise Problem("url_unreachable")
        return reply.body
