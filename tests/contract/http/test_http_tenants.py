"""Two tenants, and every operation of the document with every id of the other: nothing is there.

The operations are read from the document, so a new one is walked without anybody thinking of it.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.app import openapi_document
from service.settings import ServiceSettings
from tests.contract.http import player
from tests.contract.http.conftest import REFERENCE, TARGET, Stack, StartStack
from tests.contract.http.problems import problem

OF_NOBODY = ("/healthz/", "/v1/files/")
"""No tenant's; a link is a permission in itself, and is tried below."""

CODES = {
    "transfers": "job_not_found",
    "matches": "job_not_found",
    "batches": "batch_not_found",
    "assets": "asset_not_found",
}
PICTURES = [("target", ("a.png", TARGET)), ("reference", ("b.jpg", REFERENCE))]


def operations() -> Iterator[tuple[str, str]]:
    for path, found in openapi_document()["paths"].items():
        if not path.startswith(OF_NOBODY):
            yield from ((method.upper(), path) for method in found)


NAMED = [(method, path) for method, path in operations() if "{" in path]
LISTS = [path for method, path in operations() if method == "GET" and "{" not in path]


@pytest.fixture
def alice(start_stack: StartStack) -> Stack:
    stack = start_stack(ServiceSettings(require_keys=True))
    stack.http.headers["Authorization"] = f"Bearer {key(stack, 'alice')}"
    return stack


def key(stack: Stack, tenant: str) -> str:
    return stack.keys.create(tenant, ["submit", "read"])[0]  # type: ignore[list-item]


def as_bob(stack: Stack) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key(stack, 'bob')}"}
    return httpx.Client(base_url=stack.http.base_url, headers=headers, timeout=20, trust_env=False)


def made_by(stack: Stack) -> dict[str, list[str]]:
    """Ids of everything that a tenant can have, in every state that a job can be in."""
    http = stack.http
    asset = http.post("/v1/assets", files={"file": ("a.png", TARGET)}).json()["id"]
    named = {"target": {"asset": asset}, "reference": {"asset": asset}}
    done, running = (http.post("/v1/transfers", json=named).json()["id"] for _ in range(2))
    player.finish(stack, player.claim(stack))
    player.preview(stack, player.claim(stack))
    waiting = http.post("/v1/transfers", files=PICTURES).json()["id"]
    matching = http.post("/v1/matches", json=named).json()["id"]
    body = {"reference": {"asset": asset}, "items": [{"custom_id": "1", "target": {"asset": asset}}]}
    batch = http.post("/v1/batches", json=body).json()["id"]
    member = http.get(f"/v1/batches/{batch}/items").json()["items"][0]["id"]
    return {"transfers": [done, running, waiting, member], "matches": [matching], "batches": [batch], "assets": [asset]}


def test_every_kind_of_thing_is_walked() -> None:
    assert {path.split("/")[2] for _, path in NAMED} == set(CODES)
    assert len(NAMED) > 20


def test_nothing_of_the_other_is_there(alice: Stack) -> None:
    ids = made_by(alice)
    everything = [each for found in ids.values() for each in found]
    seen = snapshot(alice, ids)
    with as_bob(alice) as bob:
        for method, path in NAMED:
            code = CODES[path.split("/")[2]]
            for each in everything:
                answer = bob.request(method, path.replace("{id}", each).replace("{picture}", "target"))
                problem(answer, 404, code)
        for path in LISTS:
            assert bob.get(path).json()["items"] == [], path
    assert snapshot(alice, ids) == seen, "nor has anything been changed"


def snapshot(stack: Stack, ids: dict[str, list[str]]) -> dict[str, Any]:
    return {each: stack.http.get(f"/v1/{kind}/{each}").json() for kind, found in ids.items() for each in found}


def test_what_the_other_has_cannot_be_named(alice: Stack) -> None:
    asset = made_by(alice)["assets"][0]
    named = {"target": {"asset": asset}, "reference": {"asset": asset}}
    item = {"custom_id": "1", "target": {"asset": asset}}
    with as_bob(alice) as bob:
        for path, body in [
            ("/v1/transfers", named),
            ("/v1/matches", named),
            ("/v1/batches", {"reference": {"asset": asset}, "items": [item]}),
        ]:
            problem(bob.post(path, json=body), 404, "asset_not_found")
        # One tenant's idempotency keys are not the other's.
        headers = {"Idempotency-Key": "one"}
        mine = alice.http.post("/v1/transfers", files=PICTURES, headers=headers).json()
        theirs = bob.post("/v1/transfers", files=PICTURES, headers=headers).json()
        assert mine["id"] != theirs["id"]


def test_links_are_of_no_use_for_anything_else(alice: Stack) -> None:
    """A link opens one file to whoever has it, and nothing can be made of it."""
    done = alice.http.get(f"/v1/transfers/{made_by(alice)['transfers'][0]}").json()
    link = done["result"]["url"]
    claim, _, signature = link.rpartition(".")
    with as_bob(alice) as bob:
        mine = bob.post("/v1/transfers", files=PICTURES).json()
        for job in alice.store.claim("w2"), alice.store.claim("w2"), alice.store.claim("w2"):
            if job is not None and job.record.id == mine["id"]:
                player.finish(alice, job)
        own = bob.get(mine["urls"]["self"]).json()["result"]["url"].rpartition(".")
        for forged in (f"{claim}.{own[2]}", f"{own[0]}.{signature}", claim, link + "0"):
            problem(bob.get(forged), 403, "link_refused")
    assert alice.http.delete(done["urls"]["self"]).status_code == 204
    for name in ("result", "matches", "matches_picture"):
        url = done["result"]["url"] if name == "result" else done["result"][name]["url"]
        with as_bob(alice) as bob:
            problem(bob.get(url), 410, "job_gone")
    assert json.dumps(done).count("/v1/files/") == 6, "three, and those of the only variant are the same"
