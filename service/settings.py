"""Settings of the API process, read from the environment once at process start."""

import ipaddress

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from jobs.images import PictureLimits


class UnsafeBinding(ValueError):
    """The API would be open to a network without asking who calls."""


class ServiceSettings(BaseSettings):
    """Each field is the environment variable `PLUMAGE_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="PLUMAGE_", frozen=True, extra="ignore", use_attribute_docstrings=True)

    public_url: str | None = Field(default=None, pattern=r"^https?://[^\s?#]+$")
    """Address under which clients reach the API. Links in answers start with it; absent, they are paths."""

    max_body_bytes: int = Field(default=64 * 2**20, ge=1024)
    """Largest request body, all pictures together."""

    max_picture_bytes: int = Field(default=20 * 2**20, ge=1024)
    """Largest uploaded file."""

    max_picture_pixels: int = Field(default=40_000_000, ge=256, le=80_000_000)
    """Most pixels of an uploaded picture, width times height."""

    max_picture_side_px: int = Field(default=8192, ge=16, le=16_383)
    """Longest side of an uploaded picture."""

    decodes_at_once: int = Field(default=2, ge=1, le=64)
    """Requests whose pictures are decoded at the same time; each may need half a gigabyte. Others wait."""

    allow_unauthenticated: bool = False
    """Lets the API listen on addresses that other machines reach, although it asks nobody for a key."""

    @property
    def picture_limits(self) -> PictureLimits:
        return PictureLimits(
            max_bytes=self.max_picture_bytes,
            max_pixels=self.max_picture_pixels,
            max_side_px=self.max_picture_side_px,
        )

    def check_binding(self, host: str) -> None:
        """Raises UnsafeBinding unless `host` is a loopback address or the operator has opted in."""
        if not (self.allow_unauthenticated or _is_loopback(host)):
            raise UnsafeBinding(
                f"refusing to listen on {host!r}: the API has no authentication yet, so anybody who reaches it "
                "may use it. Bind to 127.0.0.1, or set PLUMAGE_ALLOW_UNAUTHENTICATED=1 behind your own proxy."
            )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False  # another name may resolve to anything, now or later
