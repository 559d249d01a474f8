"""Requests to addresses that users name: what is reached, and above all what is not.

A hook sees every connection that this process opens, so "refused" means that nothing was sent anywhere.
"""

import asyncio
import http.server
import ipaddress
import ssl
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trustme

from service.outbound import Outbound, Reply, UrlError, UrlRefused, UrlTooLarge, UrlUnreachable, is_public

HERE = "127.0.0.2"
"""Stands for a public address: the only one that these tests allow."""

LOOPBACK = [
    "127.0.0.1",
    "localhost",
    "localhost.",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "017700000001",
    "127.000.000.001",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
]
NOT_PUBLIC = [
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.0.1",
    "169.254.169.254",  # metadata of most clouds
    "2852039166",  # the same
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fe80::1%25lo]",
    "100.64.0.1",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "198.18.0.1",
    "192.0.2.1",
    "255.255.255.255",
    "224.0.0.1",
    "239.255.255.250",
    "[ff02::1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::8.8.8.8]",
    "[64:ff9b:1::1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[2001:db8::1]",
    "[fc00::1]",
    "[::ffff:10.0.0.1]",
    "[::ffff:8.8.8.8]",
    "[::10.0.0.1]",
]
MALFORMED = [
    "http://example.com/a.png",
    "ftp://example.com/a.png",
    "file:///etc/passwd",
    "gopher://127.0.0.1/",
    "//example.com/a.png",
    "example.com",
    "https:",
    "https:example.com",
    "https:///a.png",
    "https://",
    "https://example.com:22/",
    "https://example.com:6379/",
    "https://example.com:0/",
    "https://example.com:99999/",
    "https://user@example.com/",
    "https://user:secret@example.com/",
    "https://127.0.0.1\\@example.com/",
    "https://example.com\\@127.0.0.1/",
    "https://example.com\\.evil.com/",
    "https://exa mple.com/",
    "https://example.com/\r\nHost: x",
    "https://example.com\t/",
    "https://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3/",
    "https://example.com/" + "a" * 2048,
    "https://[::1",
    "https://[v1.x]/",
    "",
]


class _Connections:
    """Addresses to which this process connects. An audit hook cannot be removed, so there is one, and a switch."""

    def __init__(self) -> None:
        self.seen: list[str] | None = None
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and self.seen is not None and isinstance(arguments[1], tuple):
            self.seen.append(arguments[1][0])


_CONNECTIONS = _Connections()


@pytest.fixture
def connections() -> Iterator[list[str]]:
    _CONNECTIONS.seen = []
    yield _CONNECTIONS.seen
    _CONNECTIONS.seen = None


@dataclass
class Site:
    """A web server with a certificate for pictures.test, on HERE."""

    port: int = 0
    hosts: list[str] = field(default_factory=list)
    """`Host` of every request."""
    location: str = ""

    def outbound(self, names: Sequence[Sequence[str]] = ((HERE,),)) -> Outbound:
        """Resolves any name to the first of `names`, the next time to the second, and so on."""
        answers = iter(names)

        async def resolve(host: str, port: int) -> Sequence[str]:
            return next(answers)

        return Outbound([ipaddress.IPv4Network(HERE)], [self.port], names=resolve)

    def url(self, path: str, host: str = "pictures.test") -> str:
        return f"https://{host}:{self.port}{path}"


@contextmanager
def serving(site: Site, tls: ssl.SSLContext) -> Iterator[None]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.hosts.append(self.headers["Host"])
            if self.path == "/slow":
                self.send_response(200)
                self.end_headers()
                for _ in range(50):
                    time.sleep(0.1)
                    self.wfile.write(b".")
                return
            body = b"x" * 1000 if self.path == "/endless" else b"hello " + self.headers["Accept-Encoding"].encode()
            self.send_response(302 if self.path == "/redirect" else 200)
            if self.path == "/redirect":
                self.send_header("Location", site.location)
            if self.path != "/endless":
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # clients hang up on purpose here

    server = Server((HERE, 0), Handler)
    server.daemon_threads = True
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    site.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Site]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("pictures.test").configure_cert(tls)
    found = Site()
    with serving(found, tls):
        yield found


def send(outbound: Outbound, url: str, *, max_bytes: int = 100, timeout_s: float = 5.0) -> Reply:
    return asyncio.run(outbound.send("GET", url, max_bytes=max_bytes, timeout_s=timeout_s))


# --- what is reached ------------------------------------------------------------------------------------------------


def test_a_checked_address_is_asked_under_its_name(site: Site, connections: list[str]) -> None:
    reply = send(site.outbound(), site.url("/a.png"))
    assert (reply.status, reply.body) == (200, b"hello identity")
    assert reply.headers["content-length"] == "14"
    assert site.hosts == [f"pictures.test:{site.port}"]
    assert set(connections) == {HERE}


def test_a_certificate_of_another_name_is_refused(site: Site) -> None:
    with pytest.raises(UrlUnreachable):
        send(site.outbound(), site.url("/a.png", host="other.test"))
    assert site.hosts == []


def test_proxies_of_the_environment_are_not_used(
    site: Site, connections: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.9:1")
    assert send(site.outbound(), site.url("/a.png")).status == 200
    assert set(connections) == {HERE}


def test_too_much_is_not_read(site: Site) -> None:
    with pytest.raises(UrlTooLarge):
        send(site.outbound(), site.url("/a.png"), max_bytes=13)
    with pytest.raises(UrlTooLarge):
        send(site.outbound(), site.url("/endless"), max_bytes=999)
    assert len(send(site.outbound(), site.url("/endless"), max_bytes=1000).body) == 1000


def test_the_time_is_for_everything_together(site: Site) -> None:
    """Each byte comes in time, all of them do not."""
    with pytest.raises(UrlUnreachable):
        send(site.outbound(), site.url("/slow"), timeout_s=0.5)
    assert site.hosts == [f"pictures.test:{site.port}"]


# --- what is not ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outbound() -> Outbound:
    """With the default settings."""
    return Outbound()


@pytest.mark.parametrize("host", LOOPBACK + NOT_PUBLIC)
def test_addresses_that_are_not_public_are_not_connected_to(
    host: str, outbound: Outbound, connections: list[str]
) -> None:
    with pytest.raises(UrlError):
        send(outbound, f"https://{host}/")
    assert connections == []


def test_loopback_is_not_connected_to_where_somebody_listens(site: Site, connections: list[str]) -> None:
    """On the port that is allowed, and with a resolver that knows every spelling: the system's."""
    outbound = Outbound(ports=[site.port])
    for host in [*LOOPBACK, HERE]:
        with pytest.raises(UrlError):
            send(outbound, site.url("/", host=host))
    assert connections == []


@pytest.mark.parametrize("url", MALFORMED)
def test_urls_of_another_form_are_refused_before_anything_is_asked(
    url: str, outbound: Outbound, connections: list[str]
) -> None:
    with pytest.raises(UrlRefused):
        outbound.check(url)
    with pytest.raises(UrlRefused):
        send(outbound, url)
    assert connections == []


def test_one_bad_address_spoils_a_name(site: Site, connections: list[str]) -> None:
    with pytest.raises(UrlUnreachable):
        send(site.outbound([[HERE, "127.0.0.1"]]), site.url("/"))
    with pytest.raises(UrlUnreachable):
        send(site.outbound([["::1", HERE]]), site.url("/"))
    with pytest.raises(UrlUnreachable):
        send(site.outbound([[]]), site.url("/"))
    assert connections == []


def test_a_name_that_changes_its_address_is_asked_once(site: Site, connections: list[str]) -> None:
    outbound = site.outbound([[HERE], ["127.0.0.1"]])
    assert send(outbound, site.url("/")).status == 200
    assert set(connections) == {HERE}
    connections.clear()
    with pytest.raises(UrlUnreachable):
        send(outbound, site.url("/"))
    assert connections == []


@pytest.mark.parametrize("host", [*LOOPBACK[:4], *NOT_PUBLIC[:6], "[64:ff9b::7f00:1]", "pictures.test"])
def test_redirects_are_answers(host: str, site: Site, connections: list[str]) -> None:
    site.location = site.url("/", host=host)
    reply = send(site.outbound(), site.url("/redirect"))
    assert (reply.status, reply.headers["location"]) == (302, site.location)
    assert len(site.hosts) == 1
    assert connections == [HERE]


def test_what_fails_says_nothing_of_the_reason(site: Site) -> None:
    """A port that is closed, one that is open, a name that does not exist: all alike."""
    allowed = Outbound([ipaddress.IPv4Network("127.0.0.0/8")], [1])
    messages = set()
    for outbound, url in (
        (allowed, "https://127.0.0.3:1/"),
        (Outbound(ports=[site.port]), site.url("/", host=HERE)),
        (Outbound(), "https://name.invalid/"),
    ):
        with pytest.raises(UrlUnreachable) as caught:
            send(outbound, url)
        messages.add(str(caught.value))
    assert messages == {"Nothing answers at this URL."}


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))
