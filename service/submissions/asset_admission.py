"""From an uploaded picture to a kept asset."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from jobs.objects import ObjectStore, asset_key
from jobs.stores.assets import Asset, Assets, new_copy_id
from service.errors import Problem
from service.schemas.asset import AssetForm
from service.schemas.problem import FieldError
from uploads.decoder_pool import DecoderPool
from uploads.errors import InvalidImage


@dataclass(frozen=True, slots=True)
class AssetAdmission:
    """Shared by all requests."""

    assets: Assets
    objects: ObjectStore
    decoders: DecoderPool
    decodes: CapacityLimiter
    max_bytes: int

    async def admit(self, form: AssetForm, tenant: str) -> tuple[Asset, datetime, bool]:
        """The asset, when it ends, and whether this upload is the one that is kept.

        Raises Problem for a picture that is refused, and what the stores raise.
        """
        data = await run_sync(form.file.file.read, self.max_bytes + 1)
        asset_id = await run_sync(_digest, data)
        known = await run_sync(self._renew, asset_id, tenant)
        if known is not None:
            return *known, False
        return await run_sync(self._keep, asset_id, data, tenant, limiter=self.decodes)

    def _renew(self, asset_id: str, tenant: str) -> tuple[Asset, datetime] | None:
        """The asset when it is there already. When it is not, an object store that hangs is found out here, before
        anything is decoded for it."""
        known = self.assets.renew(asset_id, tenant=tenant)
        if known is None:
            self.objects.require_answer(asset_key(tenant, asset_id, new_copy_id()))
        return known

    def _keep(self, asset_id: str, data: bytes, tenant: str) -> tuple[Asset, datetime, bool]:
        try:
            picture = self.decoders.check_picture(data, keep_profile=True)
        except InvalidImage as error:
            wrong = FieldError(pointer="/file", code=error.code, message=str(error))
            raise Problem(error.code, f"/file: {error}", errors=[wrong]) from error
        asset = Asset(
            id=asset_id,
            copy_id=new_copy_id(),
            bytes=len(picture.png),
            width=picture.width,
            height=picture.height,
            has_alpha=picture.has_alpha,
            scaled_from=picture.scaled_from,
            created_at=datetime.now(UTC),
        )
        self.assets.reserve(asset.id, asset.copy_id, tenant=tenant)
        self.objects.put(asset_key(tenant, asset.id, asset.copy_id), picture.png, "image/png")
        kept, ends = self.assets.keep(asset, tenant=tenant)
        return kept, ends, kept == asset


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
