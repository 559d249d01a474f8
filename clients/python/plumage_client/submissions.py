"""The body of a submission."""

import json
from collections.abc import Mapping
from typing import Any

from plumage_client.models import Asset
from plumage_client.pictures import Picture, read_picture


def body_of(pictures: Mapping[str, Picture | Asset | None], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of httpx for a submission of these pictures and fields; None leaves one away.

    A form, or JSON when the pictures are assets. Raises OSError, and ValueError when only some of them are assets.
    """
    given = {name: picture for name, picture in pictures.items() if picture is not None}
    named = {name: {"asset": picture.id} for name, picture in given.items() if isinstance(picture, Asset)}
    if not named:
        files = {name: read_picture(picture) for name, picture in given.items() if not isinstance(picture, Asset)}
        return {"files": files, "data": {name: _text(value) for name, value in _present(fields).items()}}
    if len(named) < len(given):
        raise ValueError("either all pictures are assets or none")
    return {"json": {**named, **_present(fields)}}


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: dict(value) if isinstance(value, Mapping) else value
        for name, value in fields.items()
        if value is not None
    }


def _text(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)
