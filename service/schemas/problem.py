"""The shape of every error: problem details as in RFC 9457."""

from service.schemas.base import ResponseModel


class FieldError(ResponseModel):
    """One thing that is wrong with one field."""

    pointer: str
    """JSON pointer (RFC 6901) to the field, `/params/…` for one inside `params`, `/query/…` for the query."""
    code: str
    message: str


class ProblemDetails(ResponseModel):
    """RFC 9457 problem details."""

    type: str
    """`urn:plumage:problem:` and the code."""
    title: str
    status: int
    detail: str
    instance: str
    """Path of the request."""
    code: str
    """Stable, for programs."""
    errors: list[FieldError]
    """Field by field, where that makes sense."""
    request_id: str
    """Name this when asking for help; it is also the answer's X-Request-ID."""
