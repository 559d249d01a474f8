"""The OpenAPI 3.1 document of the API. It depends on the code alone, not on settings."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from jobs.inputs import PARTS
from service import signed_urls as links
from service.errors import PROBLEMS
from service.openapi import examples
from service.openapi.responses import headers, problems
from service.schemas import batch as batches
from service.schemas import batch_request as batch_forms
from service.schemas import health
from service.schemas import job as schemas
from service.schemas import submission as forms
from service.submissions import dry_run as trying
from service.webhooks import payload as webhooks

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
says how it went."""
TAGS = [
    {"name": "transfers", "description": "Repaint one picture with the appearance of another."},
    {"name": "matches", "description": "Find which part of one picture belongs to which part of another."},
    {"name": "assets", "description": "Pictures that are uploaded once and used by many jobs."},
    {"name": "batches", "description": "Many transfers, submitted and looked at as one."},
    {"name": "files", "description": "What jobs have made, by links that need no key."},
    {"name": "webhooks", "description": WEBHOOKS},
    {"name": "health", "description": "For load balancers and operators."},
]
ASKED = (
    forms.TransferForm,
    forms.TransferRequest,
    forms.MatchingForm,
    forms.MatchingRequest,
    forms.AssetForm,
    batch_forms.BatchRequest,
    webhooks.WebhookTest,
)
ANSWERS = (
    schemas.TransferPage,
    schemas.MatchingPage,
    schemas.StoredAsset,
    trying.DryRun,
    batches.BatchPage,
    batches.BatchItems,
    batches.BatchResult,
    health.Readiness,
    health.Alive,
    schemas.ProblemDetails,
)


def document() -> dict[str, Any]:
    """What `openapi/openapi.json` holds. Connects to nothing."""
    from service.app import bare_app  # here, because the app serves this document

    return bare_app().openapi()


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
            # FastAPI promises its own 422 wherever a parameter exists; a path parameter cannot cause one.
            operation["responses"] = _with_gate(path, operation)
            if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                del operation["responses"]["422"]
    return found


def _with_gate(path: str, operation: dict[str, Any]) -> dict[str, Any]:
    """The answers of an operation and, where a key may be asked for, those of the gate."""
    if not path.startswith("/v1/") or path.startswith(links.PATH):
        return dict(operation["responses"])
    operation["security"] = [{"key": []}]
    gate = problems("key_missing", "key_refused", "scope_missing", "cross_site", "host_refused", "rate_limited")
    answers = {str(status): answer for status, answer in gate.items()} | operation["responses"]
    for status in answers:
        if status.startswith("2"):
            answers[status].setdefault("headers", {}).update(headers(RATE_HEADERS)["headers"])
    return dict(sorted(answers.items()))


def _models() -> dict[str, Any]:
    """Straight from pydantic: FastAPI turns bounds into floats, and 2**63 - 1 is none."""
    _, found = models_json_schema(
        [*((asked, "validation") for asked in ASKED), *((answer, "serialization") for answer in ANSWERS)],
        ref_template="#/components/schemas/{model}",
    )
    models: dict[str, Any] = found["$defs"]
    models["ProblemDetails"]["properties"]["code"]["enum"] = sorted(PROBLEMS)
    models["TransferRequest"]["examples"] = examples.transfer_requests()
    models["BatchRequest"]["examples"] = examples.batch_requests()
    models["Transfer"]["examples"] = examples.transfers()
    models["Matching"]["examples"] = examples.matchings()
    return models
