"""What jobs have made: pictures, correspondence maps, masks and previews; with a key, or by a signed link without."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from jobs.errors import JobNotFound, ObjectNotFound
from jobs.objects import owner_of
from jobs.schema import StoredVariant
from service.dependencies import CurrentMatching, CurrentTransfer, Objects, OfSeed, SendFile, Stores, Urls
from service.errors import Problem
from service.job_responses import result_of, variant_of
from service.openapi.responses import RESULT_CODES, binary, file, problems
from service.signed_urls import PATH

SEED_CODES = ("invalid_request", "no_variant")
MAP_DESCRIPTION = "Both pictures side by side, what belongs together in one colour."
MEDIA_TYPES = ("image/png", "image/webp", "image/jpeg", "application/zip")
transfers = APIRouter(prefix="/v1/transfers/{id}", tags=["transfers"], default_response_class=Response)
matches = APIRouter(prefix="/v1/matches/{id}", tags=["matches"], default_response_class=Response)
files = APIRouter(prefix=PATH, tags=["files"], default_response_class=Response)
ROUTERS = (transfers, matches, files)

# --- transfers ------------------------------------------------------------------------------------------------------


def _variant(job: CurrentTransfer, seed: OfSeed = None) -> StoredVariant:
    return variant_of(job, seed)


Variant = Annotated[StoredVariant, Depends(_variant)]


@transfers.get(
    "/result",
    operation_id="get_transfer_result",
    summary="Fetch the finished picture",
    responses=file(["image/png", "image/webp", "image/jpeg"], "The picture, of the target's size.", *SEED_CODES),
)
def get_transfer_result(variant: Variant, send: SendFile) -> Response:
    """As `output` asked for. PNG and WebP have an alpha channel when the target has one."""
    return send(variant.image)


@transfers.get(
    "/matches",
    operation_id="get_transfer_matches",
    summary="Fetch the correspondence map",
    responses=file(
        ["application/zip"], "NumPy's .npz; see `result.matches` of the record for what is in it.", *SEED_CODES
    ),
)
def get_transfer_matches(variant: Variant, send: SendFile) -> Response:
    """Which part of the reference each part of the target was painted from. `numpy.load` reads it."""
    return send(variant.matches)


@transfers.get(
    "/matches/picture",
    operation_id="get_transfer_matches_picture",
    summary="Fetch the correspondence map as a picture",
    responses=file(["image/png"], MAP_DESCRIPTION, *SEED_CODES),
)
def get_transfer_matches_picture(variant: Variant, send: SendFile) -> Response:
    """For people. Lines join some of the pairs."""
    return send(variant.matches_picture)


@transfers.get(
    "/masks/{picture}",
    operation_id="get_transfer_mask",
    summary="Fetch a mask that was used",
    responses={
        200: binary("image/png", "Grey, of the picture's size: white took part."),
        **problems(*RESULT_CODES, "no_mask"),
    },
)
def get_transfer_mask(
    job: CurrentTransfer,
    objects: Objects,
    picture: Annotated[str, Path(description="A name in the record's `result.masks`.")],
) -> Response:
    """What was repainted of the target, or used of the reference, whether it was uploaded or found in the picture."""
    mask = result_of(job).masks.get(picture)
    if mask is None:
        raise Problem("no_mask")
    try:
        data = objects.get(mask.key)
    except ObjectNotFound as error:
        raise Problem("result_gone") from error
    return Response(data, media_type="image/png", headers={"Cache-Control": "private, no-cache"})


@transfers.get(
    "/preview",
    operation_id="get_transfer_preview",
    summary="Fetch the latest preview",
    responses={
        200: binary("image/jpeg", "A small picture of how far the job is."),
        **problems(
            "job_not_found", "no_preview", "job_gone", "store_unavailable", "objects_unavailable", "object_corrupt"
        ),
    },
)
def get_transfer_preview(job: CurrentTransfer, objects: Objects) -> Response:
    """JPEG. Replaced while the job runs, a few times per second at most."""
    missing = Problem("no_preview", extra={"job_status": job.status})
    if job.preview_key is None:
        raise missing
    try:
        return Response(objects.get(job.preview_key), media_type="image/jpeg")
    except ObjectNotFound as error:
        raise missing from error


# --- matchings ------------------------------------------------------------------------------------------------------


@matches.get(
    "/result",
    operation_id="get_matching_result",
    summary="Fetch the map",
    responses=file(["application/zip"], "NumPy's .npz; see `result` of the record for what is in it."),
)
def get_matching_result(job: CurrentMatching, send: SendFile) -> Response:
    """`numpy.load` reads it: `positions`, `similarity`, `inside`, `confidence` and `region`, one entry for each token
    of the target."""
    return send(result_of(job).matches)


@matches.get(
    "/picture",
    operation_id="get_matching_picture",
    summary="Fetch the map as a picture",
    responses=file(["image/png"], MAP_DESCRIPTION),
)
def get_matching_picture(job: CurrentMatching, send: SendFile) -> Response:
    """For people. Lines join some of the pairs."""
    return send(result_of(job).matches_picture)


# --- by a signed link -----------------------------------------------------------------------------------------------


@files.get(
    "/{token}",
    operation_id="get_file",
    summary="Fetch a file by its link",
    responses={**file(MEDIA_TYPES, "The file."), **problems("link_refused")},
)
def get_file(
    token: Annotated[str, Path(description="As in a `url` of a result.")], stores: Stores, urls: Urls, send: SendFile
) -> Response:
    """Works until the `url_expires_at` that came with the link, as long as the job exists."""
    key = urls.key(token)
    tenant, job_id = owner_of(key)
    try:
        record = stores.jobs.get(job_id, tenant=tenant)
    except JobNotFound as error:
        raise Problem("job_gone") from error
    for stored in result_of(record).files:
        if stored.key == key:
            return send(stored)
    raise Problem("result_gone")
