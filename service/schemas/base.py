"""The base of every model of a response, and the addresses that responses name."""

from pydantic import BaseModel, ConfigDict


class ResponseModel(BaseModel):
    """Fields have no defaults, so that every one of them is always there."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


def address(public_url: str | None, path: str) -> str:
    """A path of this API as clients reach it: a full URL when the operator has set a public address."""
    return (public_url or "").rstrip("/") + path
