"""How the answers of a route are described in OpenAPI, where FastAPI cannot derive it."""

from typing import Any

from service.errors import MEDIA_TYPE, PROBLEMS

IMAGE_CODES = tuple(code for code in PROBLEMS if code.startswith(("image_", "mask_")))
PROBLEM_SCHEMA = {"$ref": "#/components/schemas/ProblemDetails"}


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can answer with these codes of the table, and with a 500."""
    by_status: dict[int, list[str]] = {}
    for code in (*codes, "internal_error"):
        by_status.setdefault(PROBLEMS[code].status, []).append(code)
    return {status: _problem_response(status, found) for status, found in sorted(by_status.items())}


def headers(described: dict[str, str]) -> dict[str, Any]:
    """Of an answer: names and what they say."""
    return {"headers": {name: {"schema": {"type": "string"}, "description": text} for name, text in described.items()}}


def binary(media_type: str, description: str) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": {"type": "string", "format": "binary"}}}}


def event_stream(description: str, event: str, model: str) -> dict[str, Any]:
    """The schema is that of one event, and says what is in its `data`."""
    data = {"type": "string", "contentMediaType": "application/json"}
    fields = {
        "event": {"const": event},
        "id": {"type": "string"},
        "data": data | {"contentSchema": {"$ref": f"#/components/schemas/{model}"}},
        "retry": {"type": "integer", "minimum": 0},
    }
    return {
        "description": description,
        "content": {"text/event-stream": {"schema": {"type": "object", "properties": fields}}},
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
