"""Reads the body of a request: a form with files, or JSON that names its pictures. Routes depend on these functions."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile

from jobs.inputs import MASKS_MAX, PICTURES_MAX
from jobs.schema import SEEDS_MAX
from service.errors import Problem, json_pointer, refuse
from service.schemas.asset import AssetForm
from service.schemas.batch_request import BatchRequest
from service.schemas.problem import FieldError
from service.schemas.strict_json import read_object
from service.schemas.submission import MatchingForm, MatchingRequest, Submission, TransferForm, TransferRequest
from service.submissions.inputs import require_parts, require_parts_of_each

MULTIPART = "multipart/form-data"
JSON = "application/json"
# All pictures, text fields; a few more, so that an unknown one is named and not counted.
FORM_LIMITS: dict[str, Any] = {
    "max_files": 8 + PICTURES_MAX + MASKS_MAX,
    "max_fields": 16 + SEEDS_MAX,
    "max_part_size": 64 * 1024,
}
REPEATED = frozenset({"seeds"})
"""Parts that may be there several times."""
JSON_MAX_BYTES = 256 * 1024
BATCH_MAX_BYTES = 8 * 2**20
M = TypeVar("M", bound=BaseModel)


async def submitted_transfer(request: Request) -> AsyncIterator[Submission]:
    async with _submitted(request, TransferForm, TransferRequest) as found:
        yield found


async def submitted_matching(request: Request) -> AsyncIterator[Submission]:
    async with _submitted(request, MatchingForm, MatchingRequest) as found:
        yield found


async def submitted_batch(request: Request) -> BatchRequest:
    if _content_type(request) != JSON:
        raise Problem("unsupported_media_type", f"Send {JSON}.")
    found = await _read_json(request, BatchRequest, BATCH_MAX_BYTES)
    require_parts_of_each(found)
    return found


async def uploaded_asset(request: Request) -> AsyncIterator[AssetForm]:
    if _content_type(request) != MULTIPART:
        raise Problem("unsupported_media_type", f"Send {MULTIPART}.")
    async with _read_form(request, AssetForm) as found:
        yield found


@asynccontextmanager
async def _submitted(
    request: Request, form: type[MatchingForm], named: type[MatchingRequest]
) -> AsyncIterator[Submission]:
    """Refuses other content types, which would look like an empty form."""
    content_type = _content_type(request)
    if content_type == JSON:
        found: Submission = await _read_json(request, named, JSON_MAX_BYTES)
        require_parts(found)
        yield found
    elif content_type == MULTIPART:
        async with _read_form(request, form) as parts:
            require_parts(parts)
            yield parts
    else:
        raise Problem("unsupported_media_type", f"Send {MULTIPART} or {JSON}.")


def _content_type(request: Request) -> str:
    """Lower case, without options. Raises Problem for text in another encoding than UTF-8."""
    content_type, options = parse_options_header(request.headers.get("content-type"))
    if options.get(b"charset", b"utf-8").lower() != b"utf-8":
        raise Problem("unsupported_media_type", "Send text in UTF-8.")
    return content_type.decode("latin-1")


@asynccontextmanager
async def _read_form(request: Request, model: type[M]) -> AsyncIterator[M]:
    """The parts of the form; its files are closed afterwards. Raises Problem and RequestValidationError."""
    try:
        form: FormData = await request.form(**FORM_LIMITS)
    except FormParserError as error:
        raise Problem("malformed_body", "The form cannot be parsed.") from error
    try:
        _refuse_repeated(form)
        fields: dict[str, Any] = {name: value for name, value in form.multi_items() if not _empty(value)}
        fields |= {name: form.getlist(name) for name in REPEATED & set(fields)}
        try:
            found = model.model_validate(fields)
        except ValidationError as error:
            raise _request_error(error) from error
        yield found
    finally:
        await form.close()


async def _read_json(request: Request, model: type[M], max_bytes: int) -> M:
    """JSON in the strict sense: no NaN, no key twice, no string where a number belongs."""
    body = await request.body()
    if len(body) > max_bytes:
        raise Problem("body_too_large", f"JSON may have {max_bytes} bytes here.")
    try:
        return model.model_validate_json(json.dumps(read_object(body.decode())), strict=True)
    except (PydanticCustomError, UnicodeDecodeError) as error:
        raise Problem("malformed_body", "The body is no JSON object.") from error
    except ValidationError as error:
        raise _request_error(error) from error


def _refuse_repeated(form: FormData) -> None:
    names = [name for name, _ in form.multi_items()]
    refuse(
        [
            FieldError(pointer=json_pointer([name]), code="duplicate_field", message="This field is given twice.")
            for name in dict.fromkeys(names)
            if names.count(name) > 1 and name not in REPEATED
        ],
        "invalid_request",
    )


def _empty(value: str | UploadFile) -> bool:
    """A field that a browser sends although nothing was entered or chosen."""
    return value == "" or (isinstance(value, UploadFile) and not value.filename and not value.size)


def _request_error(error: ValidationError) -> RequestValidationError:
    return RequestValidationError([{**found, "loc": ("body", *found["loc"])} for found in error.errors()])
