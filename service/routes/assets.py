"""Assets: pictures that are uploaded once and used by many jobs."""

import hashlib
from datetime import UTC, datetime
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Path, Response

from jobs.errors import AssetNotFound, JobsError
from jobs.objects import asset_key
from jobs.stores.assets import Asset, new_copy_id
from service.dependencies import Called, Caller
from service.errors import Problem
from service.job_responses import log
from service.openapi.responses import IMAGE_CODES, form_body, headers, problems
from service.schemas.job import FieldError, StoredAsset
from service.schemas.submission import AssetForm
from service.submissions.body import uploaded_asset
from uploads.errors import InvalidImage

router = APIRouter(prefix="/v1/assets", tags=["assets"])


def _asset_id(id: Annotated[str, Path(description="The asset's `id`: SHA-256 of what was uploaded.")]) -> str:
    if len(id) != 64 or not set(id) <= set("0123456789abcdef"):
        raise AssetNotFound("There is no such asset.")
    return id


AssetId = Annotated[str, Depends(_asset_id)]


@router.post(
    "",
    status_code=201,
    operation_id="create_asset",
    summary="Upload a picture",
    response_description="Kept. `Location` is the asset's address.",
    openapi_extra=form_body("AssetForm"),
    responses={
        201: headers({"Location": "The asset's address."}),
        200: {"model": StoredAsset, "description": "It was there already, and is now kept for its whole time again."}
        | headers({"Location": "The asset's address."}),
        **problems(
            "malformed_body",
            "body_too_large",
            "unsupported_media_type",
            "invalid_request",
            *(code for code in IMAGE_CODES if not code.startswith("mask_")),
            "too_many_assets",
            "store_unavailable",
            "objects_unavailable",
            "decoder_unavailable",
        ),
    },
)
async def create_asset(
    form: Annotated[AssetForm, Depends(uploaded_asset)], response: Response, caller: Called
) -> StoredAsset:
    """Keeps a picture for jobs that name it as `{"asset": id}`. Its id is the SHA-256 of the bytes, so the same picture
    is kept once however often it is sent, and whoever has a picture knows its id."""
    data = await run_sync(form.file.file.read, caller.settings.max_picture_bytes + 1)
    renewed = await run_sync(_renewed, data, caller)
    limiter = caller.request.app.state.decode_limiter
    answer, created = (renewed, False) if renewed else await run_sync(_kept, data, caller, limiter=limiter)
    response.status_code = 201 if created else 200
    response.headers["Location"] = answer.url
    return answer


def _renewed(data: bytes, caller: Caller) -> StoredAsset | None:
    """The asset when it is there already. When it is not, a store of objects that hangs is found out here, before
    anything is decoded for it."""
    asset_id = hashlib.sha256(data).hexdigest()
    known = caller.stores.assets.renew(asset_id, tenant=caller.tenant)
    if known is not None:
        return StoredAsset.of(*known, caller.settings.public_url)
    caller.objects.require_answer(asset_key(caller.tenant, asset_id, new_copy_id()))
    return None


def _kept(data: bytes, caller: Caller) -> tuple[StoredAsset, bool]:
    """The asset, and whether this upload is the one that is kept."""
    assets, asset_id = caller.stores.assets, hashlib.sha256(data).hexdigest()
    try:
        picture = caller.request.app.state.decoders.check_picture(data)
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
        created_at=datetime.now(UTC),
    )
    assets.reserve(asset.id, asset.copy_id, tenant=caller.tenant)
    caller.objects.put(asset_key(caller.tenant, asset.id, asset.copy_id), picture.png, "image/png")
    kept, ends = assets.keep(asset, tenant=caller.tenant)
    return StoredAsset.of(kept, ends, caller.settings.public_url), kept == asset


@router.get(
    "/{id}",
    operation_id="get_asset",
    summary="Look at an asset",
    response_description="What is known of it.",
    responses=problems("asset_not_found", "store_unavailable"),
)
def get_asset(asset_id: AssetId, caller: Called) -> StoredAsset:
    """Tells whether a picture has to be uploaded again."""
    return StoredAsset.of(*caller.stores.assets.get(asset_id, tenant=caller.tenant), caller.settings.public_url)


@router.delete(
    "/{id}",
    status_code=204,
    operation_id="delete_asset",
    summary="Delete an asset",
    response_description="It is gone.",
    responses=problems("asset_not_found", "store_unavailable"),
)
def delete_asset(asset_id: AssetId, caller: Called) -> None:
    """Jobs that were submitted with it have copies of their own and are not affected."""
    asset = caller.stores.assets.end(asset_id, tenant=caller.tenant)
    try:
        caller.objects.delete(asset_key(caller.tenant, asset.id, asset.copy_id))
        caller.stores.cleanup_queue.forget_asset(caller.tenant, f"{asset.id}/{asset.copy_id}")
    except JobsError:
        log.warning("objects.left", asset_id=asset_id)  # the collector has it on its list
