"""Pictures that are uploaded once and used by many jobs, each under the hash of its bytes.

The same bytes of one tenant are one asset, however often they come; each time it lives on for its whole time again. A
job takes a copy of what it uses, so the end of an asset ends no job.

The object of each upload has a key of its own: when the garbage collector deletes that of an ended asset, it never
deletes one that was uploaded a moment ago.
"""

import secrets
from datetime import datetime

from redis import Redis

from jobs.base import StoredModel
from jobs.errors import AssetNotFound, TooManyAssets
from jobs.schema import check_name
from jobs.settings import JobSettings
from jobs.stores.scripts import Scripts, to_datetime

RETRY_WHEN_FULL_S = 60.0
UPLOAD_S = 3600.0
"""An upload that is stored and not kept by then has been given up."""


class Asset(StoredModel):
    """A picture that was checked and re-encoded."""

    id: str
    """SHA-256 of the bytes that were uploaded, in hex."""
    copy_id: str
    """Tells this upload's object from earlier ones."""
    bytes: int
    """Size of what is kept, a PNG without metadata."""
    width: int
    height: int
    has_alpha: bool
    scaled_from: tuple[int, int] | None = None
    """Width and height as it was uploaded, when it was scaled down."""
    created_at: datetime


def new_copy_id() -> str:
    return secrets.token_hex(8)


class Assets:
    """Every method raises StoreUnavailable when Redis cannot serve."""

    def __init__(self, redis: Redis, settings: JobSettings) -> None:
        self._scripts = Scripts(redis, settings.prefix)
        self._keep_ms = settings.asset_s * 1000
        self._at_most = settings.max_assets_per_tenant

    def renew(self, asset_id: str, *, tenant: str) -> tuple[Asset, datetime] | None:
        """The asset, which begins its time anew, and when it ends; None when there is none."""
        return self._read(self._scripts.call("assets_get", asset_id, tenant, self._keep_ms))

    def reserve(self, asset_id: str, copy_id: str, *, tenant: str) -> None:
        """Call it before the object is stored: if the asset is never kept, the garbage collector finds the object.

        Raises TooManyAssets when the tenant has as many as it may.
        """
        check_name("tenant", tenant)
        check_name("asset id", asset_id)
        member = f"{tenant}/{asset_id}/{copy_id}"
        if self._scripts.call("assets_reserve", tenant, member, int(UPLOAD_S * 1000), self._at_most) is None:
            raise TooManyAssets("This tenant has too many assets.", retry_after_s=RETRY_WHEN_FULL_S)

    def keep(self, asset: Asset, *, tenant: str) -> tuple[Asset, datetime]:
        """The asset and when it ends. When the same bytes were kept meanwhile, it is that asset, and the garbage
        collector deletes the object of this one. Call it when the object can be read."""
        text = asset.model_dump_json()
        kept = self._read(self._scripts.call("assets_keep", asset.id, tenant, asset.copy_id, text, self._keep_ms))
        assert kept is not None
        return kept

    def get(self, asset_id: str, *, tenant: str) -> tuple[Asset, datetime]:
        """The asset and when it ends. Raises AssetNotFound, also for another tenant's."""
        found = self._read(self._scripts.call("assets_get", asset_id, tenant, 0))
        if found is None:
            raise AssetNotFound("There is no such asset, or not any more.")
        return found

    def end(self, asset_id: str, *, tenant: str) -> Asset:
        """Forgets an asset. Its object is then the garbage collector's, or the caller's to delete and then to take from
        the cleanup queue. Raises AssetNotFound."""
        asset, _ = self.get(asset_id, tenant=tenant)
        if self._scripts.call("assets_end", asset_id, tenant, asset.copy_id) != 1:
            raise AssetNotFound("There is no such asset, or not any more.")
        return asset

    @staticmethod
    def _read(answer: object) -> tuple[Asset, datetime] | None:
        if not isinstance(answer, list):
            return None
        return Asset.model_validate_json(answer[0]), to_datetime(answer[1])
