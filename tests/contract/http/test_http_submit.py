"""Submitting: what is accepted, and what becomes of it."""

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from core.params.transfer import TransferParams
from service.settings import ServiceSettings
from tests.contract.http.conftest import REFERENCE, TARGET, Stack, StartStack
from tests.pictures import SIZE, encoded, gradient

MASK = encoded(Image.new("L", SIZE, 255))
RECORD = {
    "id", "status", "progress", "queue_position", "attempt", "created_at", "started_at", "finished_at",
    "error", "urls", "result", "inputs", "seed", "seeds", "prompt", "negative_prompt", "params",
    "metadata", "deadline", "ttl", "priority", "output", "webhook", "batch",
}  # fmt: skip


def test_two_pictures_are_enough(stack: Stack) -> None:
    response = stack.submit()
    record = response.json()
    assert response.status_code == 202
    assert set(record) == RECORD
    assert response.headers["Location"] == record["urls"]["self"] == f"/v1/transfers/{record['id']}"
    assert set(record["urls"]) == {"self", "events", "cancel", "result", "preview", "matches", "matches_picture"}
    assert record["status"] == "queued"
    assert record["queue_position"] == 1
    assert record["progress"] == {"step": 0, "steps": 0, "value": 0.0}
    assert (record["started_at"], record["finished_at"], record["error"], record["result"]) == (None,) * 4
    assert 0 <= record["seed"] < 2**53
    assert record["params"] == TransferParams().model_dump(mode="json")


def test_everything_given_comes_back(stack: Stack) -> None:
    record = stack.submitted(
        target_mask=MASK,
        reference_mask=MASK,
        seed=2**63 - 1,
        prompt="ein Pfau \N{PEACOCK}",
        negative_prompt="blurry",
        params='{"guidance_scale": 2, "injection": {"layers": ["up_blocks.1"]}, "latent": {"adain_range": [0.2, 0.1]}}',
    )
    assert record["seed"] == 2**63 - 1
    assert (record["prompt"], record["negative_prompt"]) == ("ein Pfau \N{PEACOCK}", "blurry")
    assert record["params"]["guidance_scale"] == 2.0
    assert record["params"]["injection"]["layers"] == ["up_blocks.1"]
    assert record["params"]["latent"]["adain_range"] == [0.2, 0.1]


def test_the_worker_gets_the_job_and_clean_pictures(stack: Stack) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "SECRETMAKER"
    lying = gradient().transpose(Image.Transpose.ROTATE_90)
    record = stack.submitted(target=encoded(lying, exif=exif), target_mask=MASK, seed=7, params='{"eta": 0.5}')
    claim = stack.store.claim("w1")
    assert claim is not None
    assert claim.record.id == record["id"]
    assert (claim.record.spec.seed, claim.record.spec.params.eta) == (7, 0.5)
    inputs = claim.record.spec.inputs
    assert inputs.reference_mask is None
    assert inputs.target_mask is not None
    stored = stack.objects.get(inputs.target)
    assert b"SECRET" not in stored
    upright = Image.open(io.BytesIO(stored))
    assert (upright.mode, upright.size) == ("RGB", SIZE)
    assert upright.tobytes() == gradient().tobytes()
    assert Image.open(io.BytesIO(stack.objects.get(inputs.target_mask))).mode == "L"
    assert sorted(stack.inputs()) == sorted([inputs.target, inputs.reference, inputs.target_mask])


def test_names_of_files_are_never_used(stack: Stack) -> None:
    parts = [
        ("target", ("../../../etc/passwd", TARGET, "text/html")),
        ("reference", ("\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe" + "x" * 500, REFERENCE, "image/svg+xml")),
    ]
    response = stack.http.post("/v1/transfers", files=parts)
    assert response.status_code == 202
    job_id = response.json()["id"]
    folder = f"inputs/local/{job_id}"
    assert sorted(stack.inputs()) == [f"{folder}/reference.png", f"{folder}/target.png"]


def test_empty_optional_fields_of_a_browser_form_are_absent_ones(stack: Stack) -> None:
    parts: list[tuple[str, Any]] = [
        ("target", ("a.png", TARGET)),
        ("reference", ("b.jpg", REFERENCE)),
        ("target_mask", ("", b"")),
        ("reference_mask", ("", b"")),
        *((name, (None, "")) for name in ("seed", "prompt", "negative_prompt", "params")),
    ]
    response = stack.http.post("/v1/transfers", files=parts)
    assert response.status_code == 202, response.text
    assert len(stack.inputs()) == 2


def test_seeds_differ_when_none_is_given(stack: Stack) -> None:
    assert stack.submitted()["seed"] != stack.submitted()["seed"]


@pytest.mark.parametrize("public_url", ["https://plumage.example/api", "https://plumage.example/api/"])
def test_links_start_with_the_public_address(start_stack: StartStack, public_url: str) -> None:
    response = start_stack(ServiceSettings(public_url=public_url)).submit()
    record = response.json()
    assert record["urls"]["result"] == f"https://plumage.example/api/v1/transfers/{record['id']}/result"
    assert response.headers["Location"] == record["urls"]["self"]


def test_forged_hosts_do_not_reach_the_links(stack: Stack) -> None:
    response = stack.http.post(
        "/v1/transfers",
        files=[("target", ("a", TARGET)), ("reference", ("b", REFERENCE))],
        headers={"Host": "localhost:1", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"},
    )
    assert response.status_code == 202
    assert "evil" not in response.text + response.headers["Location"]
    assert response.headers["Location"].startswith("/")


def test_many_at_once_are_all_taken_once(stack: Stack) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: stack.submitted()["id"], range(24)))
    assert len(set(ids)) == 24
    assert {record.id for record in stack.store.list_jobs(tenant="local", limit=100).items} == set(ids)
    assert len(stack.inputs()) == 48
