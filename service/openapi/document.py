"""The OpenAPI 3.1 document of the API. It depends on the code alone, not on settings."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from jobs.inputs import PARTS
from service.errors import PROBLEMS
from service.openapi import examples
from service.openapi.responses import headers, problems
from service.schemas.asset import AssetForm, StoredAsset
from service.schemas.batch import BatchItems, BatchPage, BatchResult
from service.schemas.batch_request import BatchRequest
from service.schemas.dry_run import DryRun
from service.schemas.health import Alive, Readiness
from service.schemas.job import MatchingPage, TransferPage
from service.schemas.problem import ProblemDetails
from service.schemas.submission import MatchingForm, MatchingRequest, TransferForm, TransferRequest
from service.schemas.webhook import WebhookTest
from service.signed_urls import PATH as SIGNED_URLS

RATE_HEADERS = {
    "RateLimit-Policy": "With a key: requests that are allowed, `q`, in a window of `w` seconds.",
    "RateLimit": "With a key: requests that remain, `r`, and seconds until there are more, `t`.",
}
SECURITY = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, as `plumage keys create` prints it. Not needed where the API listens on loopback "
        "only, unless its operator wants it. Reading takes the scope `read`, everything else `submit`.",
    }
}
WEBHOOKS = """\
A submission with `webhook` has its events sent there as signed POST requests after https://www.standardwebhooks.com:
`webhook-id`, `webhook-timestamp` and `webhook-signature`, with a secret that `plumage webhook-secrets create` prints.
The body is `{"type": "transfer.succeeded", "timestamp": …, "data": {…}}`; `data` is the record as it was then. Answer
2xx within 15 seconds. Everything else is tried again, about ten times in fourteen hours; 410 ends the job's webhook. An
event may come twice, under the same `webhook-id`, and after a failure out of order. `webhook.deliveries` of the record
shows how it went."""
TAGS = [
    {"name": "transfers", "description": "Repaint one picture with the appearance of another."},
    {"name": "matches", "description": "Find which part of one picture belongs to which part of another."},
    {"name": "assets", "description": "Pictures that are uploaded once and used by many jobs."},
    {"name": "batches", "description": "Many transfers, submitted and looked at as one."},
    {"name": "files", "description": "What jobs have made, by links that need no key."},
    {"name": "webhooks", "description": WEBHOOKS},
    {"name": "health", "description": "For load balancers and operators."},
]
REQUESTS = (TransferForm, TransferRequest, MatchingForm, MatchingRequest, AssetForm, BatchRequest, WebhookTest)
RESPONSES = (
    TransferPage,
    MatchingPage,
    StoredAsset,
    DryRun,
    BatchPage,
    BatchItems,
    BatchResult,
    Readiness,
    Alive,
    ProblemDetails,
)


def describe(app: FastAPI) -> dict[str, Any]:
    """The document of an app; every error of every operation has the one shape of `ProblemDetails`."""
    found = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        tags=TAGS,
        license_info={"name": "MIT", "identifier": "MIT"},
    )
    found["components"] = {"schemas": _models(), "securitySchemes": SECURITY}
    submitted = dict.fromkeys(
        (f"/v1/{way}{kind}" for way in ("", "dry_run/") for kind in ("transfers", "matches")), PARTS
    )
    for path, pictures in {**submitted, "/v1/assets": ("file",)}.items():
        form = found["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]
        form["encoding"] = {name: {"contentType": "image/png, image/jpeg, image/webp"} for name in pictures}
    for path, operations in found["paths"].items():
        for operation in operations.values():
            operation["responses"] = _responses(path, operation)
    return found


def _responses(path: str, operation: dict[str, Any]) -> dict[str, Any]:
    """The responses of an operation; where a key may be required, with those of the authentication."""
    # FastAPI promises its own 422 wherever a parameter exists; a path parameter cannot cause one.
    if "application/json" in operation["responses"].get("422", {}).get("content", {}):
        del operation["responses"]["422"]
    # FastAPI describes events by `itemSchema`, which OpenAPI 3.1 does not know.
    operation["responses"].get("200", {}).get("content", {}).get("text/event-stream", {}).pop("itemSchema", None)
    if not path.startswith("/v1/") or path.startswith(SIGNED_URLS):
        return dict(operation["responses"])
    operation["security"] = [{"key": []}]
    auth = problems("key_missing", "key_refused", "scope_missing", "cross_site", "host_refused", "rate_limited")
    responses = {str(status): response for status, response in auth.items()} | operation["responses"]
    for status in responses:
        if status.startswith("2"):
            responses[status].setdefault("headers", {}).update(headers(RATE_HEADERS)["headers"])
    return dict(sorted(responses.items()))


def _models() -> dict[str, Any]:
    """Straight from pydantic: FastAPI turns bounds into floats, and 2**63 - 1 is none."""
    _, found = models_json_schema(
        [*((model, "validation") for model in REQUESTS), *((model, "serialization") for model in RESPONSES)],
        ref_template="#/components/schemas/{model}",
    )
    models: dict[str, Any] = found["$defs"]
    models["ProblemDetails"]["properties"]["code"]["enum"] = sorted(PROBLEMS)
    models["TransferRequest"]["examples"] = examples.transfer_requests()
    models["BatchRequest"]["examples"] = examples.batch_requests()
    models["Transfer"]["examples"] = examples.transfers()
    models["Matching"]["examples"] = examples.matchings()
    return models
