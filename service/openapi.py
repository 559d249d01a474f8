"""The OpenAPI 3.1 document of the API. It depends on the code alone, not on settings."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.errors import PROBLEMS
from service.schemas import ProblemDetails

TAGS = [
    {"name": "transfers", "description": "Repaint one picture with the appearance of another."},
    {"name": "health", "description": "For load balancers and operators."},
]


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
    schemas = found["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for model in (ProblemDetails,):
        schema = model.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema
    schemas["ProblemDetails"]["properties"]["code"]["enum"] = sorted(PROBLEMS)
    return found
