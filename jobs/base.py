"""The base of every model that is stored."""

from pydantic import BaseModel, ConfigDict


class StoredModel(BaseModel):
    """Stored as JSON, in Redis: frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
