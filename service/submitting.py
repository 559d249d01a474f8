"""What all ways of submitting a job have in common."""

from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData

from service.admission import Admission
from service.dependencies import Called
from service.errors import Problem, json_pointer
from service.schemas import FieldError

MULTIPART = "multipart/form-data"


async def one_of_each(request: Request) -> None:
    """Refuses other content types, which would look like an empty form, and parts that come twice."""
    content_type, options = parse_options_header(request.headers.get("content-type"))
    if content_type != MULTIPART.encode():
        raise Problem("unsupported_media_type", f"Send {MULTIPART}.")
    if options.get(b"charset", b"utf-8").lower() != b"utf-8":
        raise Problem("unsupported_media_type", "Send text in UTF-8.")
    form: FormData = await request.form()  # parsed already
    names = [name for name, _ in form.multi_items()]
    twice = [
        FieldError(pointer=json_pointer([name]), code="duplicate_field", message="This field is given twice.")
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    if twice:
        raise Problem("invalid_request", f"{twice[0].pointer}: {twice[0].message}", errors=twice)


def _admission(caller: Called) -> Admission:
    decodes: CapacityLimiter = caller.request.app.state.decode_limiter
    return Admission(caller.store, caller.objects, caller.request.app.state.decoders, decodes)


Admitting = Annotated[Admission, Depends(_admission)]
