"""Files by a signed link: whoever has the link needs no key."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from jobs.errors import JobNotFound
from jobs.objects import owner_of
from service.dependencies import Called, IfNoneMatch
from service.errors import Problem
from service.job_responses import result_of, serve_file
from service.openapi.responses import file, problems
from service.signed_urls import PATH

router = APIRouter(prefix=PATH, tags=["files"])
MEDIA_TYPES = ("image/png", "image/webp", "image/jpeg", "application/zip")


@router.get(
    "/{token}",
    operation_id="get_file",
    summary="Fetch a file by its link",
    response_class=Response,
    responses={**file(MEDIA_TYPES, "The file."), **problems("link_refused")},
)
def get_file(
    token: Annotated[str, Path(description="As in a `url` of a result.")],
    caller: Called,
    if_none_match: IfNoneMatch = "",
) -> Response:
    """Works until the `url_expires_at` that came with the link, as long as the job exists."""
    key = caller.links.key(token)
    tenant, job_id = owner_of(key)
    try:
        record = caller.stores.jobs.get(job_id, tenant=tenant)
    except JobNotFound as error:
        raise Problem("job_gone") from error
    for stored in result_of(record).files:
        if stored.key == key:
            return serve_file(stored, caller, if_none_match)
    raise Problem("result_gone")
