"""Settings of the API process, read from the environment once at process start."""

import ipaddress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Self
from urllib.parse import urlsplit

from limits import parse
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from uploads.images import PictureLimits


@dataclass(frozen=True, slots=True)
class SlowestPace:
    """How slowly a client may send. Only the time spent waiting for the client counts."""

    head_s: float
    """From the first moment of a connection, or the first byte of its next request, to the end of the headers."""
    pause_s: float
    """Time a body has beyond what its bytes take at `bytes_per_s`."""
    bytes_per_s: float
    body_s: float
    """Longest time of a whole body, however steadily it comes."""


class ServiceSettings(BaseSettings):
    """Each field is the environment variable `PLUMAGE_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="PLUMAGE_", frozen=True, extra="ignore", use_attribute_docstrings=True)

    public_url: str | None = Field(default=None, pattern=r"^https?://[^\s?#]+$")
    """Address under which clients reach the API. Links in answers start with it; absent, they are paths."""

    max_body_bytes: int = Field(default=64 * 2**20, ge=1024)
    """Largest request body, all pictures together."""

    head_timeout_s: float = Field(default=10.0, gt=0, le=3600)
    """Seconds that the headers of a request may take to arrive."""

    body_pause_s: float = Field(default=10.0, gt=0, le=3600)
    """Seconds that a body may take beyond those that its bytes need at `body_bytes_per_s`."""

    body_bytes_per_s: float = Field(default=16_384, gt=0)
    """Slowest pace of a body, on average. A slower one is a 408."""

    body_timeout_s: float = Field(default=300.0, gt=0, le=86_400)
    """Longest time of a body. Time that the service itself takes does not count."""

    max_picture_bytes: int = Field(default=20 * 2**20, ge=1024)
    """Largest uploaded file."""

    max_picture_pixels: int = Field(default=32_000_000, ge=256, le=80_000_000)
    """Most pixels of a picture as it is kept, width times height. A decoder may take 20 bytes of memory for each, and
    WebP does take up to 18, even from a file of 40 bytes: the default keeps one picture below 600 MB."""

    max_jpeg_pixels: int = Field(default=128_000_000, ge=256, le=320_000_000)
    """Most pixels of an uploaded JPEG. One with more than `max_picture_pixels` is scaled down to them as it is decoded,
    in no more memory."""

    max_picture_side_px: int = Field(default=8192, ge=16, le=16_383)
    """Longest side of an uploaded picture."""

    decodes_at_once: int = Field(default=2, ge=1, le=64)
    """Requests whose pictures are decoded at the same time, each in a process of its own that may need 600 MB.
    Others wait."""

    allow_unauthenticated: bool = False
    """Asks nobody for a key, on any address. For an API that only your own proxy can reach."""

    require_keys: bool = False
    """Asks for a key on loopback addresses too."""

    link_ttl_s: int = Field(default=3600, ge=60, le=302_400)
    """Links to results can be followed for at least this long and at most twice as long, which S3 limits to a week."""

    link_secret: SecretStr | None = Field(default=None, min_length=32)
    """Signs the links that the API serves itself. Absent: one that is drawn once and kept in Redis."""

    links_by_api: bool = False
    """Links to results lead to the API also where the object store could sign them: for a store that clients cannot
    reach."""

    url_inputs: bool = False
    """Lets clients name pictures by https URL, which the API then fetches from the open internet."""

    url_timeout_s: float = Field(default=10.0, gt=0, le=14)
    """Longest time that one picture may take to be fetched."""

    url_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks such as `["10.1.0.0/16"]` from which pictures may be fetched although they are not public."""

    url_ports: tuple[int, ...] = ()
    """Ports beside 443 from which pictures may be fetched."""

    rate_limit: str = "600/minute"
    """Requests that one API key may make, such as `600/minute` or `20/second`."""

    webhooks_private: bool = False
    """Lets webhooks go to any address, port and to plain http too: for receivers on this machine while you develop."""

    @field_validator("rate_limit")
    @classmethod
    def _is_a_rate(cls, value: str) -> str:
        parse(value)
        return value

    @property
    def base_url(self) -> str:
        """What links in responses start with, without a final slash. Empty: they are paths on this server."""
        return (self.public_url or "").rstrip("/")

    @property
    def slowest_pace(self) -> SlowestPace:
        return SlowestPace(self.head_timeout_s, self.body_pause_s, self.body_bytes_per_s, self.body_timeout_s)

    @property
    def picture_limits(self) -> PictureLimits:
        return PictureLimits(
            max_bytes=self.max_picture_bytes,
            max_pixels=self.max_picture_pixels,
            max_jpeg_pixels=self.max_jpeg_pixels,
            max_side_px=self.max_picture_side_px,
        )

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.allow_unauthenticated and self.require_keys:
            raise ValueError("PLUMAGE_ALLOW_UNAUTHENTICATED and PLUMAGE_REQUIRE_KEYS exclude each other")
        return self

    def asks_for_keys(self, host: str | None) -> bool:
        """Whether an API that listens on `host`, None for an unknown address, requires a key with every request."""
        local = host is not None and is_loopback(host)
        return self.require_keys or not (self.allow_unauthenticated or local)

    @property
    def host_names(self) -> frozenset[str] | None:
        """Names under which an API without keys answers, beside those of loopback; None: any."""
        if self.allow_unauthenticated:
            return None
        public = urlsplit(self.public_url or "").hostname
        return frozenset({public} if public else ())


def is_loopback(host: str) -> bool:
    """Whether an address or a name is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False  # another name may resolve to anything, now or later
