"""Assets: pictures that are uploaded once and used by many jobs."""

from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Path, Response

from jobs.errors import AssetNotFound, JobsError
from jobs.objects import asset_key
from service.dependencies import AssetUploads, BaseUrl, CurrentTenant, Objects, Stores
from service.openapi.responses import IMAGE_CODES, form_body, headers, problems
from service.schemas.asset import AssetForm, StoredAsset
from service.submissions.body import uploaded_asset

router = APIRouter(prefix="/v1/assets", tags=["assets"])
log = structlog.get_logger()


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
    form: Annotated[AssetForm, Depends(uploaded_asset)],
    response: Response,
    tenant: CurrentTenant,
    uploads: AssetUploads,
    base_url: BaseUrl,
) -> StoredAsset:
    """Keeps a picture for jobs that name it as `{"asset": id}`. Its id is the SHA-256 of the bytes, so the same picture
    is kept once however often it is sent, and whoever has a picture knows its id."""
    asset, ends, created = await uploads.admit(form, tenant)
    stored = StoredAsset.of(asset, ends, base_url)
    response.status_code = 201 if created else 200
    response.headers["Location"] = stored.url
    return stored


@router.get(
    "/{id}",
    operation_id="get_asset",
    summary="Look at an asset",
    response_description="What is known of it.",
    responses=problems("asset_not_found", "store_unavailable"),
)
def get_asset(asset_id: AssetId, stores: Stores, tenant: CurrentTenant, base_url: BaseUrl) -> StoredAsset:
    """Shows whether a picture has to be uploaded again."""
    return StoredAsset.of(*stores.assets.get(asset_id, tenant=tenant), base_url)


@router.delete(
    "/{id}",
    status_code=204,
    operation_id="delete_asset",
    summary="Delete an asset",
    response_description="It is gone.",
    responses=problems("asset_not_found", "store_unavailable"),
)
def delete_asset(asset_id: AssetId, stores: Stores, objects: Objects, tenant: CurrentTenant) -> None:
    """Jobs that were submitted with it have copies of their own and are not affected."""
    asset = stores.assets.end(asset_id, tenant=tenant)
    try:
        objects.delete(asset_key(tenant, asset.id, asset.copy_id))
        stores.cleanup_queue.forget_asset(tenant, f"{asset.id}/{asset.copy_id}")
    except JobsError:
        log.warning("objects.left", asset_id=asset_id)  # the collector has it on its list
