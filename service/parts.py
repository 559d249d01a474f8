"""The pictures of a submission by the names of their parts: are they those that its parameters name?"""

import hashlib
import json
from collections.abc import Callable, Iterable
from functools import partial

from starlette.datastructures import UploadFile as ReceivedFile

from jobs.named import PARTS, Expected, by_part
from service.batch_forms import BatchRequest
from service.errors import refuse
from service.forms import MatchingForm, Submission, pointer_in_json
from service.schemas import FieldError
from service.sources import Source

Pointer = Callable[[str], str]
"""JSON pointer to the field of a part."""


def require_parts(form: Submission) -> None:
    """Raises Problem `invalid_request` unless exactly what regions name is there, and as files in a form."""
    expected = Expected.by(form.params)
    errors = _missing(expected, form.parts, form.pointer) + _needless(expected, form.parts, form.pointer)
    if isinstance(form, MatchingForm):
        errors += [
            FieldError(pointer=form.pointer(part), code="file_expected", message="A form part with a file name.")
            for part, value in form.parts.items()
            if not isinstance(value, ReceivedFile)
        ]
    refuse(errors, "invalid_request")


def require_parts_of_each(batch: BatchRequest) -> None:
    """Raises Problem `invalid_request` unless every job of the batch has exactly what regions name."""
    expected = Expected.by(batch.params)
    errors = _needless(expected, by_part(batch.pictures, batch.masks), pointer_in_json)
    for position, item in enumerate(batch.items):
        errors += _missing(expected, batch.assets_of(item), partial(pointer_to_item, position))
        errors += _needless(expected, by_part(item.pictures, item.masks), partial(pointer_to_item, position))
    refuse(errors, "invalid_request")


def pointer_to_item(position: int, part: str) -> str:
    return f"/items/{position}{pointer_in_json(part)}"


def _missing(expected: Expected, given: Iterable[str], pointer: Pointer) -> list[FieldError]:
    missing = expected.missing(given)
    return [FieldError(pointer=pointer(part), code="missing", message="A region names it.") for part in missing]


def _needless(expected: Expected, given: Iterable[str], pointer: Pointer) -> list[FieldError]:
    needless = expected.needless(part for part in given if part not in PARTS)
    return [
        FieldError(pointer=pointer(part), code="extra_forbidden", message="No region names it.") for part in needless
    ]


def fingerprint(form: Submission) -> str:
    """Equal for submissions that ask for the same, however the parts were ordered, named or encoded."""
    pictures = {part: _name(source) for part, source in form.parts.items()}
    fields = form.model_dump(mode="json", exclude={*PARTS, *form.parts, "pictures", "masks"})
    asked = {"kind": form.kind, "pictures": pictures, "fields": fields}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _name(source: Source) -> str | dict[str, str]:
    """An upload is what it holds, anything else what it is called."""
    if not isinstance(source, ReceivedFile):
        return source.model_dump(exclude_none=True)
    source.file.seek(0)
    digest = hashlib.file_digest(source.file, "sha256").hexdigest()  # type: ignore[arg-type]
    source.file.seek(0)
    return digest
