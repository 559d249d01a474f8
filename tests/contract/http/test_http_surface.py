"""What holds for every request: problem details, request ids, headers; and the two pages."""

import json
import re
import socket
import time
import tomllib
from html.parser import HTMLParser

import pytest
import structlog
from structlog.testing import capture_logs

from service.app import bare_app, openapi_document
from service.openapi.document import TAGS
from tests.architecture.sources import ROOT
from tests.contract.http.conftest import Stack
from tests.contract.http.problems import problem

PAGES = {"/", "/docs", "/openapi.json", "/static/playground.js", "/static/docs.js", "/static/style.css"}
"""What is there and no part of the API."""


def test_nothing_is_served_that_the_document_does_not_tell() -> None:
    app = bare_app()
    served = {(route.path, method) for route in app.state.endpoints for method in route.methods}
    told = {(path, method.upper()) for path, operations in openapi_document()["paths"].items() for method in operations}
    assert {path for path, _ in served - told} == PAGES - {"/openapi.json"}
    assert told <= served
    own = {route.path for route in app.routes if hasattr(route, "path")}  # those of no router of ours
    assert own == {"/openapi.json"}


def test_there_is_one_version_of_the_api() -> None:
    paths = openapi_document()["paths"]
    assert {path.split("/")[1] for path in paths} == {"v1", "healthz"}
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert openapi_document()["info"]["version"] == stated


def test_every_operation_has_one_tag_that_is_described() -> None:
    tags = {tag["name"] for tag in TAGS}
    found = [
        operation["tags"] for operations in openapi_document()["paths"].values() for operation in operations.values()
    ]
    assert {len(each) for each in found} == {1}
    assert {each[0] for each in found} == tags


@pytest.mark.parametrize(
    "path",
    [
        *("/nothing", "/v1", "/v1/transfers/", "/v2/transfers", "/docs/x", "/redoc"),
        *("/admin", "/debug", "/metrics", "/rq", "/v1/keys", "/.env", "/.git/config", "/static/", "/static/../app.py"),
    ],
)
def test_unknown_paths(stack: Stack, path: str) -> None:
    problem(stack.http.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/transfers", {"GET", "POST"}),
        ("PUT", "/v1/transfers/abc", {"GET", "DELETE"}),
        ("GET", "/v1/transfers/abc/cancel", {"POST"}),
        ("POST", "/v1/transfers/abc/result", {"GET"}),
        ("TRACE", "/v1/transfers", {"GET", "POST"}),
        ("OPTIONS", "/healthz/live", {"GET"}),
    ],
)
def test_unknown_methods(stack: Stack, method: str, path: str, allowed: set[str]) -> None:
    response = stack.http.request(method, path)
    problem(response, 405, "method_not_allowed")
    assert set(re.split(r",\s*", response.headers["Allow"])) == allowed


def test_a_sane_request_id_is_kept(stack: Stack) -> None:
    response = stack.http.get("/nothing", headers={"X-Request-ID": "abc-1.2_3"})
    assert response.headers["X-Request-ID"] == response.json()["request_id"] == "abc-1.2_3"


@pytest.mark.parametrize("given", ["x" * 129, "a b", "a\tb", "{}", ""])
def test_another_request_id_is_replaced(stack: Stack, given: str) -> None:
    first, second = (stack.http.get("/nothing", headers={"X-Request-ID": given}) for _ in range(2))
    assert re.fullmatch(r"[0-9a-f]{32}", first.headers["X-Request-ID"])
    assert first.headers["X-Request-ID"] != second.headers["X-Request-ID"]


@pytest.mark.parametrize("path", ["/", "/healthz/live", "/v1/transfers", "/nothing", "/openapi.json"])
def test_nothing_is_sniffed(stack: Stack, path: str) -> None:
    assert stack.http.get(path).headers["X-Content-Type-Options"] == "nosniff"


def test_every_request_is_one_line_in_the_log(stack: Stack) -> None:
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        response = stack.http.get("/nothing?secret=1", headers={"X-Request-ID": "abc"})
        assert response.status_code == 404
        deadline = time.monotonic() + 5
        while not (ours := [line for line in lines if line.get("request_id") == "abc"]):  # written after the answer
            assert time.monotonic() < deadline
            time.sleep(0.01)
    (line,) = ours
    assert line.pop("ms") >= 0
    assert line == {
        "event": "http.request",
        "log_level": "info",
        "request_id": "abc",
        "method": "GET",
        "path": "/nothing",
        "status": 404,
    }


def test_the_document_is_served(stack: Stack) -> None:
    assert stack.http.get("/openapi.json").json() == json.loads(json.dumps(openapi_document()))


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_need_no_other_host(stack: Stack, path: str) -> None:
    page = stack.http.get(path)
    assert page.status_code == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    links = _Links()
    links.feed(page.text)
    assert links.found
    for link in links.found:
        if link != "data:,":
            assert link.startswith("/")
            assert not link.startswith("//")
            assert stack.http.get(link).status_code == 200, link
    for link in links.found:
        if link.endswith((".js", ".css")):
            assert "://" not in stack.http.get(link).text


def test_the_form_of_the_page_has_the_fields_of_the_api(stack: Stack) -> None:
    names = set(re.findall(r'name="([a-z_]+)"', stack.http.get("/").text)) - {"viewport"}
    form = openapi_document()["components"]["schemas"]["TransferForm"]
    assert set(form["required"]) <= names <= set(form["properties"])


def test_a_huge_declared_length_is_refused_before_the_body_comes(stack: Stack) -> None:
    head = (
        "POST /v1/transfers HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {10**12}\r\n\r\n"
    )
    with socket.create_connection((stack.http.base_url.host, stack.http.base_url.port or 80), timeout=10) as raw:
        raw.sendall(head.encode())
        answer = raw.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer
