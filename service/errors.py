"""Every error that leaves the API: RFC 9457 problem details, with one stable `code` each.

`PROBLEMS` is the table of all codes and the only place that knows their HTTP statuses. Routes raise `Problem`;
errors of `jobs` and `uploads` are found in the table by their own `code`; everything else is `internal_error`, whose
cause goes to the log and not to the client.
"""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import structlog
from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Route

from jobs.errors import JobsError, QueueFull
from service.schemas.problem import FieldError, ProblemDetails
from uploads.errors import UploadError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5

log = structlog.get_logger()


class ProblemKind(NamedTuple):
    status: int
    title: str


PROBLEMS: dict[str, ProblemKind] = {
    # the request
    "malformed_body": ProblemKind(400, "The body cannot be parsed."),
    "not_found": ProblemKind(404, "There is nothing at this path."),
    "method_not_allowed": ProblemKind(405, "This path does not know this method."),
    "body_too_slow": ProblemKind(408, "The body came too slowly."),
    "body_too_large": ProblemKind(413, "The body is too large."),
    "unsupported_media_type": ProblemKind(415, "This content type is not accepted."),
    "invalid_request": ProblemKind(422, "A field is missing, unknown or out of range."),
    "http_error": ProblemKind(400, "The request cannot be served."),
    # who calls
    "key_missing": ProblemKind(401, "An API key is required."),
    "key_refused": ProblemKind(401, "This API key is not valid."),
    "scope_missing": ProblemKind(403, "This API key does not allow this."),
    "cross_site": ProblemKind(403, "Pages of other sites may not call this API."),
    "host_refused": ProblemKind(403, "This API does not answer under this name."),
    "link_refused": ProblemKind(403, "This link is not valid, or not any more."),
    "rate_limited": ProblemKind(429, "Too many requests with this API key."),
    # pictures
    "image_too_many_bytes": ProblemKind(413, "A picture file is too large."),
    "image_type_unsupported": ProblemKind(415, "A file is no picture of an accepted type."),
    "image_empty": ProblemKind(422, "A picture file is empty."),
    "image_unreadable": ProblemKind(422, "A picture is damaged."),
    "image_animated": ProblemKind(422, "A picture is animated."),
    "image_too_many_pixels": ProblemKind(422, "A picture has too many pixels."),
    "image_too_large_side": ProblemKind(422, "A side of a picture is too long."),
    "image_too_small": ProblemKind(422, "A picture is too small."),
    "image_too_narrow": ProblemKind(422, "A picture is too long and narrow."),
    "mask_size_mismatch": ProblemKind(422, "A mask and its picture differ in size."),
    "output_transparency": ProblemKind(422, "A JPEG cannot be transparent, and the target is."),
    "mask_empty": ProblemKind(422, "A mask has nothing inside."),
    # assets and URLs
    "asset_not_found": ProblemKind(404, "There is no such asset."),
    "too_many_assets": ProblemKind(429, "This tenant has too many assets."),
    "urls_off": ProblemKind(403, "Pictures by URL are switched off here."),
    "url_refused": ProblemKind(422, "This URL is not followed."),
    "url_unreachable": ProblemKind(422, "Nothing answers at a URL."),
    "url_too_large": ProblemKind(413, "A picture behind a URL is too large."),
    # jobs
    "job_not_found": ProblemKind(404, "There is no such job."),
    "no_preview": ProblemKind(409, "There is no preview yet."),
    "no_variant": ProblemKind(404, "The job has made nothing with this seed."),
    "no_mask": ProblemKind(404, "There is no such mask."),
    "not_finished": ProblemKind(409, "The job has not finished."),
    "job_failed": ProblemKind(409, "The job failed and has no result."),
    "job_canceled": ProblemKind(409, "The job was canceled and has no result."),
    "job_expired": ProblemKind(409, "The job expired before it started and has no result."),
    "invalid_transition": ProblemKind(409, "The state of the job does not allow this."),
    "batch_not_found": ProblemKind(404, "There is no such batch."),
    "batch_gone": ProblemKind(410, "The batch is past its retention."),
    "job_gone": ProblemKind(410, "The job is past its retention."),
    "inputs_gone": ProblemKind(410, "The pictures have been removed from the object store."),
    "result_gone": ProblemKind(410, "The picture has been removed from the object store."),
    "idempotency_key_in_use": ProblemKind(409, "A submission with this key is being admitted."),
    "idempotency_key_reused": ProblemKind(422, "This key came with another submission before."),
    "webhook_secret_missing": ProblemKind(409, "This tenant has no secret to sign webhooks with."),
    # the service
    "internal_error": ProblemKind(500, "Something went wrong inside the service."),
    "model_not_configured": ProblemKind(422, "The job needs a model that the workers do not hold."),
    "too_many_jobs": ProblemKind(429, "This tenant has too many unfinished jobs."),
    "queue_full": ProblemKind(503, "Too many jobs are waiting."),
    "store_unavailable": ProblemKind(503, "The job store does not answer."),
    "objects_unavailable": ProblemKind(503, "The object store does not answer."),
    "object_corrupt": ProblemKind(503, "A stored picture is damaged."),
    "decoder_unavailable": ProblemKind(503, "A picture could not be decoded now."),
    "webhooks_stalled": ProblemKind(503, "No process delivers webhooks now."),
    "not_ready": ProblemKind(503, "The service cannot run jobs now."),
}

_RETRY_AFTER_S = {"idempotency_key_in_use": 1}
_CODE_BY_STATUS = {
    400: "malformed_body",
    404: "not_found",
    405: "method_not_allowed",
    408: "body_too_slow",
    413: "body_too_large",
    415: "unsupported_media_type",
}


class Problem(Exception):
    """An error with a `code` of the table. `extra` holds further members of the answer, JSON-ready."""

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        retry_after_s: float | None = None,
        extra: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail or PROBLEMS[code].title)
        self.code = code
        self.detail = str(self)
        self.errors = list(errors)
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})
        self.retry_after_s = retry_after_s
        if retry_after_s is None and PROBLEMS[code].status == 503:
            self.retry_after_s = RETRY_AFTER_S


def refuse(errors: Sequence[FieldError], code: str | None = None) -> None:
    """Raises Problem, with the code of the first error unless another is given, when there are errors."""
    if errors:
        first = errors[0]
        raise Problem(code or first.code, f"{first.pointer}: {first.message}", errors=errors)


def render(problem: Problem, *, path: str, request_id: str, status: int | None = None) -> JSONResponse:
    """The answer to the client. `status` overrides the table's, for `http_error` only."""
    kind = PROBLEMS[problem.code]
    details = ProblemDetails(
        type=f"urn:plumage:problem:{problem.code}",
        title=kind.title,
        status=status or kind.status,
        detail=problem.detail,
        instance=path,
        code=problem.code,
        errors=problem.errors,
        request_id=request_id,
    )
    headers = dict(problem.headers)
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(problem.retry_after_s)))
    content = {**details.model_dump(mode="json"), **jsonable_encoder(problem.extra)}
    return JSONResponse(content, status_code=details.status, media_type=MEDIA_TYPE, headers=headers)


def install(app: FastAPI) -> None:
    """Makes every error of the app a problem. Unexpected exceptions are left to the request log."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(JobsError, _on_coded_error)
    app.add_exception_handler(UploadError, _on_coded_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)


def _answer(request: Request, problem: Problem, status: int | None = None) -> JSONResponse:
    return render(problem, path=request.url.path, request_id=request.state.request_id, status=status)


async def _on_problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return _answer(request, error)


async def _on_coded_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, JobsError | UploadError)
    if error.code not in PROBLEMS:
        log.error("http.error", code=error.code, exc_info=error)
        return _answer(request, Problem("internal_error"))
    wait_s = error.retry_after_s if isinstance(error, QueueFull) else _RETRY_AFTER_S.get(error.code)
    return _answer(request, Problem(error.code, str(error), retry_after_s=wait_s))


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _CODE_BY_STATUS.get(error.status_code, "http_error")
    phrase = HTTPStatus(error.status_code).phrase
    detail = None if error.detail == phrase else str(error.detail)
    answer = _answer(request, Problem(code, detail), status=error.status_code)
    answer.headers.update(error.headers or {})
    if error.status_code == 405:
        answer.headers["Allow"] = ", ".join(sorted(_methods_of(request)))
    return answer


def _methods_of(request: Request) -> set[str]:
    """All methods of a path. Starlette names those of the first route that has it."""
    routes: Sequence[Route] = request.app.state.endpoints
    found = [route.methods or set() for route in routes if route.path_regex.match(request.url.path)]
    return set().union(*found)


async def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [_field_error(found) for found in error.errors()]
    first = errors[0]
    detail = f"{first.pointer}: {first.message}" + (f" (and {len(errors) - 1} more)" if errors[1:] else "")
    return _answer(request, Problem("invalid_request", detail, errors=errors))


def _field_error(found: dict[str, Any]) -> FieldError:
    where = [str(part) for part in found["loc"]]
    if where and where[0] == "body":
        where = where[1:]
    message = str(found["msg"]).removeprefix("Value error, ")
    return FieldError(pointer=json_pointer(where), code=found["type"], message=message)


def json_pointer(path: Sequence[str]) -> str:
    """RFC 6901. Of the form's fields; a query parameter `x` is `/query/x`, one of the path `/path/x`."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)
