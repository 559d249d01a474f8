"""Input read strictly: no NaN, no key twice, no string where a number belongs, and null nowhere."""

import json
from typing import Any, TypeGuard

from pydantic import BaseModel, BeforeValidator, ValidationInfo
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

no_other_names: JsonDict = {"additionalProperties": False}
"""For a mapping whose keys have a pattern: JSON Schema allows all other keys beside them."""


def read_object(value: str) -> dict[str, Any]:
    """A JSON object. Raises PydanticCustomError for any other text, for NaN and for a key that is given twice."""
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


def strictly(model: type[BaseModel]) -> BeforeValidator:
    """Reads an object, in a form or in JSON, with no string where a number belongs."""

    def read(value: object, info: ValidationInfo) -> object:
        if _is_form_part(value, info):
            return model.model_validate_json(json.dumps(read_object(value)), strict=True)
        if info.mode == "json" and isinstance(value, dict):
            # Behind a validator of our own it is no JSON any more for pydantic, and a list no tuple.
            return model.model_validate_json(json.dumps(value), strict=True)
        return value

    return BeforeValidator(read)


def _parse_form_part(value: object, info: ValidationInfo) -> object:
    return read_object(value) if _is_form_part(value, info) else value


FormJson = BeforeValidator(_parse_form_part)
"""A JSON object, which a form has as text."""


def _is_form_part(value: object, info: ValidationInfo) -> TypeGuard[str]:
    """Whether this is JSON inside a form, and not inside JSON."""
    return info.mode == "python" and isinstance(value, str)


def never_null(schema: dict[str, Any]) -> None:
    """A form and a query cannot have null: what is absent is left out."""
    schema.pop("default", None)
    schema.update(schema.pop("anyOf")[0])


def _not_null(value: object) -> object:
    if value is None:
        raise PydanticCustomError("null", "Leave it away instead.")
    return value


NeverNull = BeforeValidator(_not_null)


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
