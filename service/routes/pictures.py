"""What a transfer has made: picture and matches, and the preview of one that runs."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from jobs.errors import ObjectNotFound
from jobs.schema import Seed
from service.dependencies import Called, IfNoneMatch, JobId
from service.errors import Problem
from service.job_responses import result_of, serve_file, variant_of
from service.openapi.responses import RESULT_CODES, binary, file, problems
from service.schemas.submission import never_null

SEED_CODES = ("invalid_request", "no_variant")
router = APIRouter(prefix="/v1/transfers", tags=["transfers"])
OfSeed = Annotated[
    Seed | None, Query(description="One of the job's `seeds`; absent, the first.", json_schema_extra=never_null)
]


@router.get(
    "/{id}/result",
    operation_id="get_transfer_result",
    summary="Fetch the finished picture",
    response_class=Response,
    responses=file(["image/png", "image/webp", "image/jpeg"], "The picture, of the target's size.", *SEED_CODES),
)
def get_transfer_result(
    job_id: JobId, caller: Called, seed: OfSeed = None, if_none_match: IfNoneMatch = ""
) -> Response:
    """As `output` asked for. PNG and WebP have an alpha channel when the target has one."""
    return serve_file(variant_of(caller.job(job_id), seed).image, caller, if_none_match)


@router.get(
    "/{id}/matches",
    operation_id="get_transfer_matches",
    summary="Fetch the correspondence map",
    response_class=Response,
    responses=file(
        ["application/zip"],
        "NumPy's .npz; see `result.matches` of the record for what is in it.",
        *SEED_CODES,
    ),
)
def get_transfer_matches(
    job_id: JobId, caller: Called, seed: OfSeed = None, if_none_match: IfNoneMatch = ""
) -> Response:
    """Which part of the reference each part of the target was painted from. `numpy.load` reads it."""
    return serve_file(variant_of(caller.job(job_id), seed).matches, caller, if_none_match)


@router.get(
    "/{id}/matches/picture",
    operation_id="get_transfer_matches_picture",
    summary="Fetch the correspondence map as a picture",
    response_class=Response,
    responses=file(
        ["image/png"],
        "Both pictures side by side, what belongs together in one colour.",
        *SEED_CODES,
    ),
)
def get_transfer_matches_picture(
    job_id: JobId, caller: Called, seed: OfSeed = None, if_none_match: IfNoneMatch = ""
) -> Response:
    """For people. Lines join some of the pairs."""
    return serve_file(variant_of(caller.job(job_id), seed).matches_picture, caller, if_none_match)


@router.get(
    "/{id}/masks/{picture}",
    operation_id="get_transfer_mask",
    summary="Fetch a mask that was used",
    response_class=Response,
    responses={
        200: binary("image/png", "Grey, of the picture's size: white took part."),
        **problems(*RESULT_CODES, "no_mask"),
    },
)
def get_transfer_mask(
    job_id: JobId,
    caller: Called,
    picture: Annotated[str, Path(description="A name in the record's `result.masks`.")],
) -> Response:
    """What was repainted of the target, or used of the reference, whether it was uploaded or found in the picture."""
    mask = result_of(caller.job(job_id)).masks.get(picture)
    if mask is None:
        raise Problem("no_mask")
    try:
        data = caller.objects.get(mask.key)
    except ObjectNotFound as error:
        raise Problem("result_gone") from error
    return Response(data, media_type="image/png", headers={"Cache-Control": "private, no-cache"})


@router.get(
    "/{id}/preview",
    operation_id="get_transfer_preview",
    summary="Fetch the latest preview",
    response_class=Response,
    responses={
        200: binary("image/jpeg", "A small picture of how far the job is."),
        **problems(
            "job_not_found", "no_preview", "job_gone", "store_unavailable", "objects_unavailable", "object_corrupt"
        ),
    },
)
def get_transfer_preview(job_id: JobId, caller: Called) -> Response:
    """JPEG. Replaced while the job runs, a few times per second at most."""
    record = caller.job(job_id)
    if record.preview_key is None:
        raise Problem("no_preview", extra={"job_status": record.status})
    try:
        return Response(caller.objects.get(record.preview_key), media_type="image/jpeg")
    except ObjectNotFound as error:
        raise Problem("no_preview", extra={"job_status": record.status}) from error
