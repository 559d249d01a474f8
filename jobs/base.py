"""The base of what is stored."""

from pydantic import BaseModel, ConfigDict


class StoredModel(BaseModel):
    """Base of everything that is stored as JSON: frozen, and unknown fields are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
