"""Who may call: keys, scopes, tenants that do not see each other, and the loopback API without keys."""

import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from jobs.stores.api_keys import Scope
from service.app import bare_app
from service.settings import ServiceSettings
from tests.contract.http.conftest import REFERENCE, TARGET, Stack, StartStack
from tests.contract.http.player import claim, finish, preview
from tests.contract.http.problems import problem

OPEN = {"/", "/docs", "/openapi.json", "/healthz/live", "/healthz/ready"}
PICTURES = [("target", ("a.png", TARGET)), ("reference", ("b.jpg", REFERENCE))]
SUBMISSIONS = {("POST", "/v1/transfers"), ("POST", "/v1/matches")}


@pytest.fixture
def guarded(start_stack: StartStack) -> Stack:
    return start_stack(ServiceSettings(require_keys=True))


def bearer(stack: Stack, tenant: str, *scopes: Scope) -> dict[str, str]:
    token, _ = stack.keys.create(tenant, scopes or (Scope.SUBMIT, Scope.READ))
    return {"Authorization": f"Bearer {token}"}


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and path of everything that the app answers, also what no document shows."""
    for route in app.state.endpoints:
        for method in route.methods:
            yield method, route.path


def guarded_routes() -> list[tuple[str, str]]:
    """All but what is open, and links to files: those are permissions themselves."""
    opened = ("/static/", "/v1/files/")
    return [(method, path) for method, path in routes(bare_app()) if not (path in OPEN or path.startswith(opened))]


def send(stack: Stack, method: str, path: str, headers: dict[str, str], job_id: str) -> httpx.Response:
    body: dict[str, Any] = {"files": PICTURES} if (method, path) in SUBMISSIONS else {}
    return stack.http.request(method, path.replace("{id}", job_id), headers=headers, **body)


def test_there_are_routes_to_walk() -> None:
    assert ("POST", "/v1/transfers") in guarded_routes()
    assert ("GET", "/v1/transfers/{id}/result") in guarded_routes()
    assert ("GET", "/v1/matches/{id}/result") in guarded_routes()


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Basic dXNlcjpwYXNz", "Bearer plumage_0123456789abcdef_" + "0" * 64, "Bearer \xe4"],
)
def test_every_route_wants_a_valid_key(guarded: Stack, authorization: str) -> None:
    headers = {"Authorization": authorization.encode("latin-1").decode("latin-1")} if authorization else {}
    known = authorization.startswith("Bearer ")
    for method, path in [*guarded_routes(), ("GET", "/v1/nothing"), ("GET", "/admin"), ("GET", "/docs/")]:
        raw = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
        answer = send(guarded, method, path, raw, "some-id")  # type: ignore[arg-type]
        problem(answer, 401, "key_refused" if known else "key_missing")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert guarded.inputs() == []


def test_no_key_is_needed_to_read_about_it_and_for_probes(guarded: Stack) -> None:
    for path in OPEN - {"/healthz/ready"}:
        assert guarded.http.get(path).status_code == 200
    assert guarded.http.get("/healthz/ready").status_code == 503  # there is no worker


def test_a_body_without_a_key_is_not_waited_for(guarded: Stack) -> None:
    head = (
        "POST /v1/transfers HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000000\r\n\r\n"
    )
    with socket.create_connection((guarded.http.base_url.host, guarded.http.base_url.port or 80), timeout=10) as raw:
        raw.sendall(head.encode())
        answer = raw.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 401 ")


def test_scopes(guarded: Stack) -> None:
    owner = bearer(guarded, "acme")
    job_id = guarded.submitted(headers=owner)["id"]
    for method, path in guarded_routes():
        reading = method in ("GET", "HEAD")
        wrong = bearer(guarded, "acme", Scope.SUBMIT if reading else Scope.READ)
        answer = send(guarded, method, path, wrong, job_id)
        problem(answer, 403, "scope_missing")
        assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
    admin = bearer(guarded, "acme", Scope.ADMIN)
    assert guarded.http.get(f"/v1/transfers/{job_id}", headers=admin).json()["status"] == "queued"


def test_two_tenants_never_meet(guarded: Stack) -> None:
    ours, theirs = bearer(guarded, "acme"), bearer(guarded, "rival", Scope.ADMIN)
    done = guarded.submitted(headers=ours)["id"]
    taken = claim(guarded)
    preview(guarded, taken)
    finish(guarded, taken)
    waiting = guarded.submitted(headers=ours)["id"]
    for job_id in (done, waiting):
        unknown = guarded.http.get("/v1/transfers/00000000", headers=theirs)
        for method, path in guarded_routes():
            if "{id}" in path and path.startswith(("/v1/transfers/", "/v1/matches/")):
                answer = send(guarded, method, path, theirs, job_id)
                problem(answer, 404, "job_not_found")
                assert answer.json()["detail"] == unknown.json()["detail"]
    assert guarded.http.get("/v1/transfers", headers=theirs).json()["items"] == []
    listed = guarded.http.get("/v1/transfers", headers=ours).json()["items"]
    assert [(item["id"], item["status"]) for item in listed] == [(waiting, "queued"), (done, "succeeded")]
    assert guarded.http.get(f"/v1/transfers/{done}/result", headers=ours).status_code == 200


def test_idempotency_keys_of_tenants_are_their_own(guarded: Stack) -> None:
    key = {"Idempotency-Key": "same"}
    first = guarded.submitted(headers={**bearer(guarded, "acme"), **key}, prompt="a")
    other = guarded.submitted(headers={**bearer(guarded, "rival"), **key}, prompt="b")
    assert first["id"] != other["id"]
    assert len(guarded.inputs()) == 4
    assert any(name.startswith("inputs/rival/") for name in guarded.inputs())


def test_a_key_that_is_revoked_ends_at_once(guarded: Stack) -> None:
    token, key = guarded.keys.create("acme", [Scope.READ])
    headers = {"Authorization": f"bearer {token}"}
    assert guarded.http.get("/v1/transfers", headers=headers).status_code == 200
    guarded.keys.revoke(key.id)
    problem(guarded.http.get("/v1/transfers", headers=headers), 401, "key_refused")


def test_a_key_in_the_address_is_no_key(guarded: Stack) -> None:
    token, _ = guarded.keys.create("acme", [Scope.READ])
    problem(guarded.http.get("/v1/transfers", params={"key": token, "access_token": token}), 401, "key_missing")


def test_with_keys_a_page_of_another_site_has_nothing_to_gain(guarded: Stack) -> None:
    headers = {**bearer(guarded, "acme"), "Sec-Fetch-Site": "cross-site", "Host": "api.example"}
    assert guarded.http.get("/v1/transfers", headers=headers).status_code == 200
    assert "Access-Control-Allow-Origin" not in guarded.http.get("/v1/transfers", headers=headers).headers


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[::1", "10.0.0.1"]
)
def test_the_loopback_api_answers_under_no_other_name(stack: Stack, host: str) -> None:
    for method, path in guarded_routes():
        problem(send(stack, method, path, {"Host": host}, "some-id"), 403, "host_refused")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "127.9.9.9"])
def test_the_loopback_api_has_these_names(stack: Stack, host: str) -> None:
    assert stack.http.get("/v1/transfers", headers={"Host": host}).status_code == 200


def test_its_public_name_counts_too(start_stack: StartStack) -> None:
    stack = start_stack(ServiceSettings(public_url="https://Plumage.example/api"))
    assert stack.http.get("/v1/transfers", headers={"Host": "plumage.example"}).status_code == 200
    problem(stack.http.get("/v1/transfers", headers={"Host": "evil.example"}), 403, "host_refused")


def test_behind_a_proxy_of_ones_own_any_name_will_do(start_stack: StartStack) -> None:
    stack = start_stack(ServiceSettings(allow_unauthenticated=True))
    assert stack.http.get("/v1/transfers", headers={"Host": "any.example"}).status_code == 200
    problem(stack.http.get("/v1/transfers", headers={"Sec-Fetch-Site": "cross-site"}), 403, "cross_site")


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9"},
    ],
)
def test_pages_of_other_sites_cannot_use_the_loopback_api(stack: Stack, headers: dict[str, str]) -> None:
    for method, path in guarded_routes():
        problem(send(stack, method, path, headers, "some-id"), 403, "cross_site")
    assert stack.inputs() == []


def test_its_own_page_can(stack: Stack) -> None:
    own = re.sub(r"/$", "", str(stack.http.base_url))
    for headers in ({"Sec-Fetch-Site": "same-origin", "Origin": own}, {"Origin": own}, {"Sec-Fetch-Site": "none"}):
        assert stack.submit(headers=headers).status_code == 202
