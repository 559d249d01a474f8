"""Assets: the form with which a picture is uploaded, and what is known of it afterwards."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict

from jobs.inputs import Size
from jobs.stores.assets import Asset
from service.schemas.base import ResponseModel
from service.schemas.submission import Upload


class AssetForm(BaseModel):
    """A picture to keep."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    file: Upload
    """JPEG, PNG, WebP, AVIF or HEIC, one frame."""


class StoredAsset(ResponseModel):
    """A picture that jobs can name."""

    id: str
    """SHA-256 of the bytes that were uploaded, in hex."""
    url: str
    bytes: int
    """Size of what is kept: a PNG, upright, without metadata, in sRGB or in the RGB space of the picture's profile."""
    width: int
    height: int
    has_alpha: bool
    scaled_from: Size | None
    """Its size as it was uploaded, when that was more than is kept."""
    created_at: datetime
    expires_at: datetime
    """Uploading it again starts its time anew."""

    @classmethod
    def of(cls, asset: Asset, ends: datetime, base_url: str) -> Self:
        url = f"{base_url}/v1/assets/{asset.id}"
        sent = None if asset.scaled_from is None else Size(width=asset.scaled_from[0], height=asset.scaled_from[1])
        known = asset.model_dump(exclude={"copy_id", "scaled_from"})
        return cls(**known, scaled_from=sent, url=url, expires_at=ends)
