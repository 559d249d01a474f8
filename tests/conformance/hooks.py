"""Read by Schemathesis before a run: what a picture looks like that the service has to accept."""

from typing import Any

import schemathesis
from hypothesis import strategies as st

from tests.pictures import encoded, gradient

# One size, so that every picture can be a mask of every other.
MODES = {"PNG": ("RGB", "L", "RGBA", "P", "1"), "JPEG": ("RGB", "L"), "WEBP": ("RGB", "RGBA")}


def pictures(kind: str) -> st.SearchStrategy[bytes]:
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    return st.sampled_from([encoded(gradient(mode), kind, **options) for mode in MODES[kind]])


for kind in MODES:
    schemathesis.openapi.media_type(f"image/{kind.lower()}", pictures(kind))


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """What JSON Schema cannot say: a range of noise levels goes down. Some jobs fail, so that one can be retried."""
    fields = getattr(body, "body", body)
    if isinstance(fields, dict):
        if isinstance(params := fields.get("params"), dict):
            fields["params"] = {name: _downwards(value) for name, value in params.items()}
        if isinstance(seed := fields.get("seed"), int) and seed % 4 == 1:
            fields["prompt"] = '{"error": "asked for"}'
    return body


def _downwards(value: Any) -> Any:
    pair = isinstance(value, list) and len(value) == 2
    return sorted(value, reverse=True) if pair and all(type(item) in (int, float) for item in value) else value
