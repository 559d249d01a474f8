"""The body of a submission."""

import json
from collections.abc import Mapping
from typing import Any

from plumage_client.models import Asset
from plumage_client.pictures import Picture, read_picture

Given = Picture | Asset
Besides = Mapping[str, Given] | None
"""Pictures or masks that regions name, by these names."""


def body_of(
    first: Mapping[str, Given | None], pictures: Besides, masks: Besides, fields: Mapping[str, Any]
) -> dict[str, Any]:
    """Arguments of httpx for a submission: the pictures that every job may have, those that regions name, and other
    fields; None leaves one away.

    A form, or JSON when the pictures are assets. Raises OSError, and ValueError when only some of them are assets.
    """
    given = {name: picture for name, picture in first.items() if picture is not None}
    besides = {"pictures": pictures or {}, "masks": masks or {}}
    all_given = [*given.values(), *(picture for named in besides.values() for picture in named.values())]
    assets = sum(isinstance(picture, Asset) for picture in all_given)
    if 0 < assets < len(all_given):
        raise ValueError("either all pictures are assets or none")
    if assets:
        named = {field: named_assets(of) for field, of in besides.items() if of}
        return {"json": {**named_assets(given), **named, **_present(fields)}}
    for field, of in besides.items():
        given |= {f"{field.removesuffix('s')}_{name}": picture for name, picture in of.items()}
    files = {name: read_picture(picture) for name, picture in given.items() if not isinstance(picture, Asset)}
    return {"files": files, "data": {name: _text(value) for name, value in _present(fields).items()}}


def named_assets(fields: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has them; None leaves one away. Also inside of mappings."""
    return {name: _named(value) for name, value in fields.items() if value is not None}


def _named(value: Any) -> Any:
    if isinstance(value, Asset):
        return {"asset": value.id}
    return named_assets(value) if isinstance(value, Mapping) else value


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: dict(value) if isinstance(value, Mapping) else value
        for name, value in fields.items()
        if value is not None
    }


def _text(value: object) -> str | list[str]:
    """Of a part of a form; several for one that is repeated."""
    if isinstance(value, list | tuple):
        return [str(each) for each in value]
    return json.dumps(value) if isinstance(value, dict) else str(value)
