"""JSON in the strict sense."""

import json
from typing import Any

from pydantic_core import PydanticCustomError


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            shown = json.dumps(name)  # ASCII: a lone surrogate could not be sent back
            raise PydanticCustomError("duplicate_key", "{name} is given twice.", {"name": shown})
        found[name] = value
    return found


def _no_constants(name: str) -> float:
    raise PydanticCustomError("json_invalid", "{name} is no JSON number.", {"name": name})


def _number(text: str) -> float:
    """For JSON Schema 20.0 is an integer."""
    value = float(text)
    return int(value) if value.is_integer() else value


def read_object(value: str) -> dict[str, Any]:
    """JSON in the strict sense: no NaN, and no key twice."""
    try:
        found = json.loads(value, object_pairs_hook=_no_duplicates, parse_float=_number, parse_constant=_no_constants)
    except (ValueError, RecursionError) as error:
        if isinstance(error, PydanticCustomError):
            raise
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "too large or too deep"
        raise PydanticCustomError("json_invalid", "Not valid JSON: {reason}.", {"reason": reason}) from error
    if not isinstance(found, dict):
        raise PydanticCustomError("json_object_expected", "A JSON object is expected.")
    return found
