"""Requests to addresses that users name: pictures given by URL, receivers of webhooks.

Such a URL must not reach anything that its author could not reach himself. So a name is resolved once, every
address it has is checked, and the connection goes to a checked address while certificate and `Host` stay the
name's: that it may resolve to something else a moment later does not matter. https only, no proxy, no redirect, a
bound on time and size. No answer names why something cannot be reached, or one could map the network with it.

    UrlError                a URL of the caller's
    ├── UrlRefused          its form is not one that is followed
    ├── UrlUnreachable      nothing there that may be reached and answers; that is all a client learns
    └── UrlTooLarge         the answer is larger than allowed
"""

import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import anyio
import httpx
import structlog

URL_MAX = 2048
HTTPS_PORT = 443
CONNECT_S = 5.0
_UNFIT = re.compile(r"[^!-~]|\\")  # anything but printable ASCII: parsers disagree on the rest
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Addresses of a host name, as text; raises OSError."""


class UrlError(Exception):
    """Base of all errors of this module. `code` is stable and machine-readable; messages are fit for people outside."""

    code = "url_error"


class UrlRefused(UrlError):
    code = "url_refused"


class UrlUnreachable(UrlError):
    code = "url_unreachable"

    def __init__(self) -> None:
        super().__init__("Nothing answers at this URL.")


class UrlTooLarge(UrlError):
    code = "url_too_large"


# The special-purpose registries of IANA, written out: what the standard library knows of them depends on its version.
_SPECIAL_V4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's own services
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # Teredo and other protocols
            "2001:db8::/32",
            "2002::/16",  # 6to4: an IPv4 address inside
            "3fff::/20",
        ),
    )
)
log = structlog.get_logger()


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


def is_public(address: Address) -> bool:
    """Whether an address belongs to the open internet. No address inside which an IPv4 address is hidden does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not any(address in network for network in _SPECIAL_V4)
    open_to_all = address in _GLOBAL_V6 and not any(address in network for network in _SPECIAL_V6)
    return open_to_all and address.is_global


async def resolve(host: str, port: int) -> Sequence[str]:
    found = await anyio.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


class PinnedTransport(httpx.AsyncBaseTransport):
    """Speaks https with addresses that were checked, and with no other. Raises UrlRefused and UrlUnreachable."""

    def __init__(
        self, tls: ssl.SSLContext, networks: Collection[Network], ports: Collection[int], names: Resolve
    ) -> None:
        self._networks = networks
        self._ports = ports
        self._names = names
        # A connection is never used twice: the next request to this address may mean another name.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._inner = httpx.AsyncHTTPTransport(verify=tls, trust_env=False, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = check_url(str(request.url), self._ports).raw_host.decode()
        failure: Exception | None = None
        for address in await self._addresses(host, _port(request.url)):
            pinned = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,  # with the name as Host
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return await self._inner.handle_async_request(pinned)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error  # nothing has been sent: the next address may answer
        raise UrlUnreachable from failure

    async def _addresses(self, host: str, port: int) -> list[str]:
        """All addresses of the host. One that is not allowed spoils the others: such a name is a trap."""
        try:
            found = list(dict.fromkeys(await self._names(host, port)))
        except (OSError, ValueError) as error:
            raise UrlUnreachable from error
        if not found or not all(self._allowed(address) for address in found):
            log.warning("outbound.refused", host=host, addresses=found)
            raise UrlUnreachable
        return found

    def _allowed(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False  # a zone, as in fe80::1%eth0
        return is_public(address) or any(address in network for network in self._networks)

    async def aclose(self) -> None:
        await self._inner.aclose()


def check_url(url: str, ports: Collection[int] = (HTTPS_PORT,)) -> httpx.URL:
    """The URL, if its form is one that we follow. Raises UrlRefused, whose message names what is wrong with it."""
    if len(url) > URL_MAX:
        raise UrlRefused(f"A URL may have {URL_MAX} characters.")
    if _UNFIT.search(url):
        raise UrlRefused("The URL holds characters that have to be percent-encoded.")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UrlRefused("This is no valid URL.") from error
    if parsed.scheme != "https":
        raise UrlRefused("Only https is allowed.")
    if parsed.userinfo:
        raise UrlRefused("A URL with a user name or password is not allowed.")
    if not parsed.host or "%" in parsed.host:
        raise UrlRefused("The URL names no host.")
    if _port(parsed) not in ports:
        raise UrlRefused("This port is not allowed.")
    return parsed


def _port(url: httpx.URL) -> int:
    return HTTPS_PORT if url.port is None else url.port


class Outbound:
    """Makes requests one at a time, each on its own connection. Safe to share between threads and event loops.

    `networks` may be reached although they are not public, and `ports` beside 443: as the operator has set.
    """

    def __init__(
        self, networks: Collection[Network] = (), ports: Collection[int] = (), *, names: Resolve = resolve
    ) -> None:
        self._networks = networks
        self._ports = frozenset({HTTPS_PORT, *ports})
        self._names = names
        self._tls = httpx.create_ssl_context()  # SSL_CERT_FILE and SSL_CERT_DIR take effect

    def check(self, url: str) -> None:
        """Raises UrlRefused for a URL that would never be followed, whatever it leads to."""
        check_url(url, self._ports)

    def _transport(self) -> httpx.AsyncBaseTransport:
        return PinnedTransport(self._tls, self._networks, self._ports, self._names)

    async def send(
        self,
        method: str,
        url: str,
        *,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
        max_bytes: int,
        timeout_s: float,
    ) -> Reply:
        """The answer, whatever its status; a redirect is an answer, too. `timeout_s` is for everything together.

        With `max_bytes` 0 nothing of the body is read.

        Raises UrlRefused, UrlUnreachable when there is no whole answer in time, and UrlTooLarge when it has more than
        `max_bytes`.
        """
        self.check(url)
        transport = self._transport()
        timeout = httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s))
        # No compressed answers: a small one could become a large one.
        all_headers = {"Accept-Encoding": "identity", "User-Agent": "Plumage", **(headers or {})}
        try:
            with anyio.fail_after(timeout_s):
                async with (
                    httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False) as client,
                    client.stream(method, url, content=content, headers=all_headers) as response,
                ):
                    return Reply(response.status_code, dict(response.headers), await _read(response, max_bytes))
        except (TimeoutError, httpx.HTTPError, ssl.SSLError, OSError) as error:
            log.info("outbound.failed", host=httpx.URL(url).host, reason=type(error).__name__)
            raise UrlUnreachable from error


class UnrestrictedOutbound(Outbound):
    """Reaches everything, loopback and plain http too. For receivers on the machine on which one develops."""

    def check(self, url: str) -> None:
        if len(url) > URL_MAX or not re.match(r"https?://[^/?#@]+([/?#]|$)", url) or _UNFIT.search(url):
            raise UrlRefused("This is no http or https URL.")
        try:
            httpx.URL(url)
        except httpx.InvalidURL as error:
            raise UrlRefused("This is no valid URL.") from error

    def _transport(self) -> httpx.AsyncBaseTransport:
        return httpx.AsyncHTTPTransport(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))


async def _read(response: httpx.Response, max_bytes: int) -> bytes:
    if max_bytes == 0:
        return b""
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and len(declared) < 20 and int(declared) > max_bytes:
        raise UrlTooLarge(f"The answer has more than {max_bytes} bytes.")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > max_bytes:
            raise UrlTooLarge(f"The answer has more than {max_bytes} bytes.")
    return bytes(body)
