"""Pictures by URL: off unless the operator says otherwise, and then from where everybody could fetch them."""

import http.server
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
import trustme

from service.settings import ServiceSettings
from tests.contract.http.conftest import REFERENCE, TARGET, Stack, StartStack
from tests.contract.http.player import claim
from tests.contract.http.problems import problem

HERE = "127.0.0.2"
"""Stands for an address of the open internet."""


@dataclass
class Site:
    port: int = 0
    asked: list[str] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"https://{HERE}:{self.port}{path}"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HERE).configure_cert(tls)
    found = Site()
    bodies = {"/a.png": TARGET, "/b.jpg": REFERENCE, "/large": TARGET + b"\0" * 100_000, "/text": b"hello"}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            body = bodies.get(self.path, b"")
            self.send_response(302 if self.path == "/elsewhere" else 200 if body else 404)
            if self.path == "/elsewhere":
                self.send_header("Location", "/a.png")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer((HERE, 0), Handler)
    server.daemon_threads = True
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def settings(site: Site, **more: Any) -> ServiceSettings:
    return ServiceSettings(url_inputs=True, url_networks=(IPv4Network(HERE),), url_ports=(site.port,), **more)


def submit(stack: Stack, target: str, reference: str) -> Any:
    body = {"target": {"url": target}, "reference": {"url": reference}}
    return stack.http.post("/v1/transfers", json=body)


def test_they_are_off_unless_switched_on(stack: Stack, site: Site) -> None:
    refused = problem(submit(stack, site.url("/a.png"), site.url("/b.jpg")), 403, "urls_off")
    assert [error["pointer"] for error in refused["errors"]] == ["/target", "/reference"]
    assert site.asked == []


def test_they_are_fetched_and_checked_like_uploads(start_stack: StartStack, site: Site) -> None:
    stack = start_stack(settings(site))
    answer = submit(stack, site.url("/a.png"), site.url("/b.jpg"))
    assert answer.status_code == 202, answer.text
    assert sorted(site.asked) == ["/a.png", "/b.jpg"]
    inputs = claim(stack).record.spec.inputs
    assert all(stack.objects.get(key).startswith(b"\x89PNG") for key in (inputs.target, inputs.reference))
    problem(submit(stack, site.url("/text"), site.url("/b.jpg")), 415, "image_type_unsupported")


def test_what_cannot_be_fetched_is_named_and_nothing_told_of_it(start_stack: StartStack, site: Site) -> None:
    stack = start_stack(settings(site, max_picture_bytes=50_000))
    good = site.url("/b.jpg")
    for url, status, code in [
        (site.url("/nowhere"), 422, "url_unreachable"),
        (site.url("/elsewhere"), 422, "url_unreachable"),
        (f"https://127.0.0.1:{site.port}/a.png", 422, "url_unreachable"),
        (f"https://localhost:{site.port}/a.png", 422, "url_unreachable"),
        (f"https://169.254.169.254:{site.port}/latest", 422, "url_unreachable"),
        (f"http://{HERE}:{site.port}/a.png", 422, "url_refused"),
        (f"https://{HERE}:{site.port + 1}/a.png", 422, "url_refused"),
        (f"https://me@{HERE}:{site.port}/a.png", 422, "url_refused"),
        ("file:///etc/passwd", 422, "url_refused"),
        (site.url("/large"), 413, "url_too_large"),
    ]:
        refused = problem(submit(stack, url, good), status, code)
        assert [(error["pointer"], error["code"]) for error in refused["errors"]] == [("/target", code)]
    assert stack.inputs() == []
    assert "/a.png" not in site.asked
