"""The base of every model of a response."""

from pydantic import BaseModel, ConfigDict


class ResponseModel(BaseModel):
    """Fields have no defaults, so that every one of them is always there."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)
