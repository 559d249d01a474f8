"""The shape that every error must have."""

from typing import Any

import httpx

MEMBERS = {"type", "title", "status", "detail", "instance", "code", "errors", "request_id"}


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The body, after checking that it is a problem with this status and code."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert set(body) >= MEMBERS
    assert (body["status"], body["code"]) == (status, code), body
    assert body["type"] == f"urn:plumage:problem:{code}"
    assert body["instance"] == response.request.url.path
    assert body["request_id"] == response.headers["X-Request-ID"]
    assert body["title"]
    assert body["detail"]
    for error in body["errors"]:
        assert set(error) == {"pointer", "code", "message"}
    if status == 503:
        assert int(response.headers["Retry-After"]) >= 1
    return body
