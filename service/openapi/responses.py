"""How the responses of a route are described in OpenAPI, where FastAPI cannot derive it."""

from collections.abc import Sequence
from typing import Any

from service.errors import MEDIA_TYPE, PROBLEMS

IMAGE_CODES = tuple(code for code in PROBLEMS if code.startswith(("image_", "mask_")))
SUBMISSION_CODES = (
    "malformed_body",
    "body_too_slow",
    "body_too_large",
    "unsupported_media_type",
    "invalid_request",
    "model_not_configured",
    *IMAGE_CODES,
    "asset_not_found",
    "urls_off",
    "url_refused",
    "url_unreachable",
    "url_too_large",
    "webhook_secret_missing",
    "idempotency_key_in_use",
    "idempotency_key_reused",
    "rate_limited",
    "too_many_jobs",
    "queue_full",
    "store_unavailable",
    "objects_unavailable",
    "object_corrupt",
    "decoder_unavailable",
)
DRY_RUN_CODES = tuple(
    code
    for code in SUBMISSION_CODES
    if not code.startswith("idempotency_") and code not in ("too_many_jobs", "queue_full")
)
LOOK_CODES = ("job_not_found", "job_gone", "store_unavailable", "objects_unavailable")
"""Problems of looking at one job, shown with its links."""
RETRY_CODES = (
    "job_not_found",
    "invalid_transition",
    "idempotency_key_in_use",
    "job_gone",
    "inputs_gone",
    "invalid_request",
    "model_not_configured",
    "idempotency_key_reused",
    "rate_limited",
    "too_many_jobs",
    "queue_full",
    "store_unavailable",
    "objects_unavailable",
    "object_corrupt",
)
RESULT_CODES = (
    "job_not_found",
    "not_finished",
    "job_failed",
    "job_canceled",
    "job_expired",
    "job_gone",
    "result_gone",
    "store_unavailable",
    "objects_unavailable",
    "object_corrupt",
)
RETRY_HINT = "Seconds until looking again makes sense. Absent when the job is over."
WAIT_HINT = "The `wait` that was taken from `Prefer`, in seconds."
PROBLEM_SCHEMA = {"$ref": "#/components/schemas/ProblemDetails"}


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can answer with these codes of the table, and with a 500."""
    by_status: dict[int, list[str]] = {}
    for code in (*codes, "internal_error"):
        by_status.setdefault(PROBLEMS[code].status, []).append(code)
    return {status: _problem_response(status, found) for status, found in sorted(by_status.items())}


def headers(described: dict[str, str]) -> dict[str, Any]:
    """The headers of a response: what each one means, by its name."""
    return {"headers": {name: {"schema": {"type": "string"}, "description": text} for name, text in described.items()}}


def binary(media_type: str, description: str) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": {"type": "string", "format": "binary"}}}}


def event_stream(event: str, model: str) -> dict[str, Any]:
    """A stream of events of this name. The schema is that of one event and of what is in its `data`."""
    data = {"type": "string", "contentMediaType": "application/json"}
    fields = {
        "event": {"const": event},
        "id": {"type": "string"},
        "data": data | {"contentSchema": {"$ref": f"#/components/schemas/{model}"}},
        "retry": {"type": "integer", "minimum": 0},
    }
    return {
        "description": f"Events named `{event}`; the data of each is the whole record.",
        "content": {"text/event-stream": {"schema": {"type": "object", "properties": fields}}},
    }


def accepted(model: type[Any]) -> dict[int | str, dict[str, Any]]:
    """The good responses to a submission."""
    where = {"Location": "The job's address."}
    replayed = {"Idempotency-Replayed": "`true` when the key was used before."}
    waited = {"Preference-Applied": WAIT_HINT}
    return {
        202: headers({**where, **replayed, "Retry-After": RETRY_HINT, **waited}),
        200: {"model": model, "description": "The job has ended within the time that `Prefer` gave it."}
        | headers({**where, **replayed, **waited}),
    }


def form_body(form: str, named: str | None = None) -> dict[str, Any]:
    """`openapi_extra` of a route that reads its body itself: a form, or JSON where a second model is named."""
    content: dict[str, Any] = {"multipart/form-data": {"schema": {"$ref": f"#/components/schemas/{form}"}}}
    if named is not None:
        content["application/json"] = {"schema": {"$ref": f"#/components/schemas/{named}"}}
    return {"requestBody": {"required": True, "content": content}}


def json_body(model: str) -> dict[str, Any]:
    """`openapi_extra` of a route that reads JSON itself."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model}"}}}
    return {"requestBody": {"required": True, "content": content}}


def looked_at() -> dict[int | str, dict[str, Any]]:
    """All responses to a look at a job."""
    known = {"ETag": "Changes with the record.", "Retry-After": RETRY_HINT, "Preference-Applied": WAIT_HINT}
    return {
        200: headers(known),
        304: {"description": "The record has the ETag of `If-None-Match`."} | headers({"Retry-After": RETRY_HINT}),
        **problems(*LOOK_CODES),
    }


def file(media_types: Sequence[str], description: str, *codes: str) -> dict[int | str, dict[str, Any]]:
    """All responses to a request for a result."""
    kinds = {each: {"schema": {"type": "string", "format": "binary"}} for each in media_types}
    known = {"ETag": "SHA-256 of the bytes, in hex.", "Content-Disposition": "A name to save it under."}
    return {
        200: {"description": description, "content": kinds} | headers(known),
        304: {"description": "The file has the ETag of `If-None-Match`."},
        **problems(*RESULT_CODES, *codes),
    }


def _problem_response(status: int, codes: list[str]) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": "; ".join(f"`{code}`: {PROBLEMS[code].title}" for code in codes),
        "content": {MEDIA_TYPE: {"schema": PROBLEM_SCHEMA, "example": _example(codes[0])}},
    }
    if status in (429, 503) or "idempotency_key_in_use" in codes:
        wait = {"schema": {"type": "integer", "minimum": 1}, "description": "Seconds to wait before trying again."}
        response["headers"] = {"Retry-After": wait}
    return response


def _example(code: str) -> dict[str, Any]:
    kind = PROBLEMS[code]
    return {
        "type": f"urn:plumage:problem:{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": kind.title,
        "instance": "/v1/transfers",
        "code": code,
        "errors": [],
        "request_id": "0d5c8f3e9a7b4c6d8e2f1a3b5c7d9e0f",
    }
