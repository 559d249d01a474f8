"""`--param key=value`: knobs by name, checked by the one declaration in `core.params.transfer`."""

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from cli.errors import BadInput
from core.params.transfer import TransferParams


def read_params(assignments: Sequence[str], preset: str | None = None) -> TransferParams:
    """Values are JSON, and what is no JSON is a string; they win over those of a preset. Raises BadInput for a name or
    value that is refused."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise BadInput(f"--param {assignment}: key=value expected", "bad_param")
        if name in values:
            raise BadInput(f"--param {name} is given twice", "bad_param")
        values[name] = _read_value(text)
    if preset is not None:
        values.setdefault("preset", preset)
    try:
        return TransferParams.model_validate(values)
    except ValidationError as error:
        problems = (f"--param {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise BadInput("; ".join(problems), "bad_param") from error


def _read_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def describe_params() -> str:
    """Every knob with its default and what it does."""
    defaults = TransferParams().model_dump(mode="json")
    properties = TransferParams.model_json_schema()["properties"]
    paragraphs = []
    for name, default in defaults.items():
        description = " ".join(properties[name].get("description", "").split())
        paragraphs.append(f"{name}={json.dumps(default)}\n    {description}")
    return "\n".join(paragraphs)
