"""What a job has made: the finished picture, and the preview of one that runs."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from jobs.errors import ObjectNotFound
from jobs.schema import JobResult, Record
from service.dependencies import Called, IfNoneMatch, JobId
from service.errors import PROBLEMS, Problem
from service.polling import names
from service.responses import binary, headers, problems

router = APIRouter(prefix="/v1/transfers", tags=["transfers"])


@router.get(
    "/{id}/result",
    operation_id="get_transfer_result",
    summary="Fetch the finished picture",
    response_class=Response,
    responses={
        200: binary("image/png", "The picture, of the target's size.")
        | headers({"ETag": "SHA-256 of the bytes, in hex."}),
        304: {"description": "The picture has the ETag of `If-None-Match`."},
        **problems(
            "job_not_found",
            "not_finished",
            "job_failed",
            "job_canceled",
            "job_expired",
            "job_gone",
            "result_gone",
            "store_unavailable",
            "objects_unavailable",
        ),
    },
)
def get_transfer_result(
    job_id: JobId,
    caller: Called,
    if_none_match: IfNoneMatch = "",
) -> Response:
    """PNG; RGBA when the target has an alpha channel, else RGB."""
    result = _result_of(caller.job(job_id))
    headers = {
        "ETag": f'"{result.sha256}"',
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'attachment; filename="plumage-{job_id}.png"',
    }
    if names(if_none_match, result.sha256):
        return Response(status_code=304, headers=headers)
    try:
        data = caller.objects.get(result.image_key)
    except ObjectNotFound as error:
        raise Problem("result_gone") from error
    return Response(data, media_type="image/png", headers=headers)


@router.get(
    "/{id}/masks/{picture}",
    operation_id="get_transfer_mask",
    summary="Fetch a mask that was used",
    response_class=Response,
    responses={
        200: binary("image/png", "Grey, of the picture's size: white took part."),
        **problems(
            "job_not_found",
            "no_mask",
            "not_finished",
            "job_failed",
            "job_canceled",
            "job_expired",
            "job_gone",
            "result_gone",
            "store_unavailable",
            "objects_unavailable",
        ),
    },
)
def get_transfer_mask(
    job_id: JobId,
    caller: Called,
    picture: Annotated[str, Path(description="A name in the record's `result.masks`.")],
) -> Response:
    """What was repainted of the target, or used of the reference, whether it was uploaded or found in the picture."""
    mask = _result_of(caller.job(job_id)).masks.get(picture)
    if mask is None:
        raise Problem("no_mask")
    try:
        data = caller.objects.get(mask.key)
    except ObjectNotFound as error:
        raise Problem("result_gone") from error
    return Response(data, media_type="image/png", headers={"Cache-Control": "private, no-cache"})


def _result_of(record: Record) -> JobResult:
    """Raises Problem when the job has no result, or none yet."""
    if record.result is not None:
        return record.result
    extra = {"job_status": record.status, "job_error": record.error}
    code = f"job_{record.status}"  # job_failed, job_canceled, job_expired
    if code in PROBLEMS:
        raise Problem(code, record.error.message if record.error else None, extra=extra)
    raise Problem("not_finished", f"The job is {record.status}.", extra=extra)


@router.get(
    "/{id}/preview",
    operation_id="get_transfer_preview",
    summary="Fetch the latest preview",
    response_class=Response,
    responses={
        200: binary("image/jpeg", "A small picture of how far the job is."),
        **problems("job_not_found", "no_preview", "job_gone", "store_unavailable", "objects_unavailable"),
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
