"""How much one caller may ask for."""

import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs.stores.api_keys import Scope
from service.settings import ServiceSettings
from tests.contract.http.conftest import TARGET, Stack, StartStack
from tests.contract.http.player import claim, finish
from tests.contract.http.problems import problem

RATE = re.compile(r'"key";r=(\d+);t=(\d+)')


def bearer(stack: Stack, tenant: str = "acme", *scopes: Scope) -> dict[str, str]:
    token, _ = stack.keys.create(tenant, scopes or (Scope.SUBMIT, Scope.READ))
    return {"Authorization": f"Bearer {token}"}


def test_requests_of_a_key_are_counted_and_bounded(start_stack: StartStack) -> None:
    stack = start_stack(ServiceSettings(require_keys=True, rate_limit="5/minute"))
    ours, others = bearer(stack), bearer(stack)
    for left in (4, 3, 2, 1, 0):
        answer = stack.http.get("/v1/transfers", headers=ours)
        assert answer.status_code == 200
        assert answer.headers["RateLimit-Policy"] == '"key";q=5;w=60'
        found = RATE.fullmatch(answer.headers["RateLimit"])
        assert found is not None
        assert int(found[1]) == left
        assert 1 <= int(found[2]) <= 120
    for method, path in (("GET", "/v1/transfers"), ("POST", "/v1/transfers"), ("GET", "/v1/nothing")):
        refused = stack.http.request(method, path, headers=ours)
        problem(refused, 429, "rate_limited")
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.headers["RateLimit"].startswith('"key";r=0;')
    assert stack.http.get("/v1/transfers", headers=others).status_code == 200
    assert stack.http.get("/healthz/live", headers=ours).status_code == 200


def test_the_window_moves_on(start_stack: StartStack) -> None:
    stack = start_stack(ServiceSettings(require_keys=True, rate_limit="1/second"))
    headers = bearer(stack)
    codes = [stack.http.get("/v1/transfers", headers=headers).status_code for _ in range(8)]
    assert 429 in codes
    time.sleep(2.1)
    assert stack.http.get("/v1/transfers", headers=headers).status_code == 200


def test_parallel_requests_cannot_pass_the_bound(start_stack: StartStack) -> None:
    stack = start_stack(ServiceSettings(require_keys=True, rate_limit="10/hour"))
    headers = bearer(stack)
    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(lambda _: stack.http.get("/v1/transfers", headers=headers).status_code, range(40)))
    assert sorted(codes) == [200] * 10 + [429] * 30


def test_what_a_scope_forbids_counts_too(start_stack: StartStack) -> None:
    stack = start_stack(ServiceSettings(require_keys=True, rate_limit="1/minute"))
    headers = bearer(stack, "acme", Scope.READ)
    first = stack.http.post("/v1/transfers", headers=headers)
    problem(first, 403, "scope_missing")
    assert first.headers["RateLimit"].startswith('"key";r=0;')
    problem(stack.http.post("/v1/transfers", headers=headers), 429, "rate_limited")


def test_the_loopback_api_counts_nobody(stack: Stack) -> None:
    assert "RateLimit" not in stack.http.get("/v1/transfers").headers


@pytest.mark.parametrize("rate", ["", "many", "5", "-1/minute", "5/fortnight"])
def test_a_rate_is_a_number_per_time(rate: str) -> None:
    with pytest.raises(ValueError, match="rate_limit"):
        ServiceSettings(rate_limit=rate)


def test_a_tenant_has_so_many_unfinished_jobs_at_once(start_stack: StartStack) -> None:
    stack = start_stack(ServiceSettings(require_keys=True), max_active_per_tenant=3)
    ours, again, theirs = bearer(stack), bearer(stack), bearer(stack, "rival")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: stack.submit(ours), range(12)))
    assert sorted(answer.status_code for answer in answers) == [202] * 3 + [429] * 9
    assert len(stack.inputs()) == 6
    refused = stack.submit(again)
    problem(refused, 429, "too_many_jobs")
    assert int(refused.headers["Retry-After"]) >= 1
    taken = claim(stack)
    problem(stack.submit(ours), 429, "too_many_jobs")  # what runs counts
    assert stack.submit(theirs).status_code == 202
    assert stack.store.hand_back(taken)
    problem(stack.submit(ours), 429, "too_many_jobs")
    finish(stack, claim(stack))
    served = claim(stack)
    finish(stack, served)
    last = stack.submit(ours)
    assert last.status_code == 202
    problem(stack.submit(ours), 429, "too_many_jobs")
    assert stack.http.delete(last.json()["urls"]["self"], headers=ours).status_code == 204
    assert stack.submit(ours).status_code == 202


@pytest.mark.skipif(sys.platform != "linux", reason="reads its memory from /proc")
def test_a_flood_is_refused_unread_and_takes_no_memory(start_stack: StartStack) -> None:
    stack = start_stack(ServiceSettings(require_keys=True, rate_limit="1/hour"))
    stack.http.headers.update(bearer(stack))
    picture = TARGET + b"\0" * 500_000

    def flood(count: int) -> None:
        for _ in range(count):
            assert stack.submit(target=picture).status_code == 429

    assert stack.submit().status_code == 202
    flood(20)
    before = resident_mb()
    flood(200)  # 100 MB
    assert resident_mb() - before < 20


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
