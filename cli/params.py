"""`--param key=value`: parameters by dotted names, checked by the one declaration in `core.params.transfer`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from cli.errors import BadInput
from core.params.transfer import TransferParams, nested

Schema = Mapping[str, Any]


def read_params(assignments: Sequence[str], preset: str | None = None) -> TransferParams:
    """`matching.ensemble_size=8`, or a whole group, `matching={"ensemble_size": 8}`; given values win over those of a
    preset. A value is JSON, and what is no JSON is a string.

    Raises BadInput with the path of every name that is unknown or given twice, and of every value that is refused.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise BadInput(f"--param {assignment}: key=value expected", "bad_param")
        for path, value in _leaves(name, _read_value(text)):
            if any(_contains(path, other) or _contains(other, path) for other in values):
                raise BadInput(f"--param {path} is given twice", "bad_param")
            values[path] = value
    if preset is not None:
        values.setdefault("preset", preset)
    try:
        return TransferParams.model_validate(nested(values))
    except ValidationError as error:
        raise BadInput("; ".join(f"--param {problem}" for problem in describe_problems(error)), "bad_param") from error


def describe_problems(error: ValidationError) -> Iterator[str]:
    """One line for each refusal of parameters, with its path."""
    for refusal in error.errors():
        path = ".".join(map(str, refusal["loc"]))
        if refusal["type"] == "extra_forbidden":
            similar = " or ".join(_most_similar(path))
            yield f"{path}: unknown" + (f"; did you mean {similar}?" if similar else "")
        else:
            message = str(refusal["ctx"]["error"]) if refusal["type"] == "value_error" else refusal["msg"]
            yield f"{path}: {message}" if path else message


def describe_params() -> str:
    """Every parameter with its default, what it does and the values that it takes, in paragraphs."""
    return "\n".join(
        f"{parameter.assignment}\n    {parameter.text}\n    Values: {parameter.values}." for parameter in list_params()
    )


@dataclass(frozen=True)
class Parameter:
    """One that `--param` sets."""

    path: str
    default: Any
    text: str
    values: str
    """Those that are taken, such as `1 to 32`."""

    @property
    def assignment(self) -> str:
        return f"{self.path}={json.dumps(self.default)}"


def list_params() -> Iterator[Parameter]:
    """All in their order; of a group its members, with dotted names."""
    schema = TransferParams.model_json_schema()
    yield from _list_members(schema, schema["$defs"], "")


def _list_members(model: Schema, definitions: Schema, prefix: str) -> Iterator[Parameter]:
    for name, field in model["properties"].items():
        group = next((definitions[_name_of(one)] for one in field.get("anyOf", [field]) if "$ref" in one), None)
        if group is not None:
            yield from _list_members(group, definitions, f"{prefix}{name}.")
        else:
            text = " ".join(field["description"].split())
            yield Parameter(prefix + name, field["default"], text, _describe_values(field, definitions))


def _describe_values(schema: Schema, definitions: Schema) -> str:
    match schema:
        case {"anyOf": options}:
            return " or ".join(_describe_values(option, definitions) for option in options)
        case {"enum": names}:
            return ", ".join(names)
        case {"$ref": _}:
            return f"{{{', '.join(definitions[_name_of(schema)]['properties'])}}}"
        case {"type": "array", "prefixItems": members}:
            return f"[{', '.join(_describe_values(member, definitions) for member in members)}]"
        case {"type": "array", "items": member}:
            most = f" (at most {schema['maxItems']})" if "maxItems" in schema else ""
            return f"[{_describe_values(member, definitions)}, …]{most}"
        case {"type": "integer" | "number"}:
            return _describe_bounds(schema)
        case {"type": "boolean"}:
            return "true, false"
        case {"type": "string", "maxLength": longest}:
            return f"text of at most {longest} characters"
        case _:
            return str(schema["type"])


def _describe_bounds(number: Schema) -> str:
    low = f"above {number['exclusiveMinimum']:g}" if "exclusiveMinimum" in number else f"{number['minimum']:g}"
    high = f"below {number['exclusiveMaximum']:g}" if "exclusiveMaximum" in number else f"{number['maximum']:g}"
    return f"{low} to {high}"


def _name_of(reference: Schema) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _most_similar(path: str) -> list[str]:
    """The parameters that were probably meant: those of the most similar name, in the same group if it is there."""
    known = [tuple(parameter.path.rpartition(".")) for parameter in list_params()]
    group, _, name = path.rpartition(".")
    nearest = get_close_matches(name, {name for _, _, name in known}, 1)
    alike = [parts for parts in known if parts[2] in nearest]
    return ["".join(parts) for parts in [parts for parts in alike if parts[0] == group] or alike]


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A group that is given as an object, member by member."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(f"{path}.{name}", inner)
    else:
        yield path, value


def _contains(path: str, other: str) -> bool:
    return path == other or other.startswith(f"{path}.")


def _read_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
