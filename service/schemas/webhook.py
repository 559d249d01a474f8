"""The request for a test event."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class WebhookTest(BaseModel):
    """Where to send an event that means nothing."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    url: Annotated[
        str,
        Field(
            min_length=1,
            max_length=2048,
            json_schema_extra={"format": "uri", "examples": ["https://app.example/plumage"]},
        ),
    ]
