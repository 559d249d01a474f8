"""The body of a submission."""

import json
from collections.abc import Mapping
from typing import Any

from plumage_client.pictures import Picture, read_picture


def form_of(pictures: Mapping[str, Picture | None], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of httpx for a form of these pictures and fields; None leaves one away. Raises OSError."""
    files = {name: read_picture(picture) for name, picture in pictures.items() if picture is not None}
    data = {
        name: json.dumps(dict(value)) if isinstance(value, Mapping) else str(value)
        for name, value in fields.items()
        if value is not None
    }
    return {"files": files, "data": data}
