"""`Idempotency-Key`: one submission, however often it is sent."""

import hashlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from PIL import Image
from redis import Redis

from cli.stack.embedded import EmbeddedRedis
from core.params.transfer import TransferParams
from jobs.garbage_collector import GarbageCollector
from jobs.schema import Output
from jobs.stores.idempotency import IdempotencyKey
from tests.contract.http.conftest import REFERENCE, TARGET, Stack, StartStack
from tests.contract.http.player import claim, finish
from tests.contract.http.problems import problem
from tests.lossy import LossyWay, lossy_way
from tests.pictures import SIZE, encoded, gradient

KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"
MASK = encoded(Image.new("L", SIZE, 255))


def submit(stack: Stack, key: str = KEY, **fields: Any) -> httpx.Response:
    return stack.submit(headers={"Idempotency-Key": key}, **fields)


def jobs(stack: Stack) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = stack.http.get("/v1/transfers?limit=100").json()["items"]
    return items


def test_the_first_answer_is_given_again_whatever_became_of_the_job(stack: Stack) -> None:
    first = submit(stack, prompt='\N{PEACOCK} / \\ "')
    finish(stack, claim(stack))
    again = submit(stack, prompt='\N{PEACOCK} / \\ "')
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert again.json()["status"] == "queued"
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert len(jobs(stack)) == 1
    assert len(stack.inputs()) == 2


def test_fifty_at_once_run_one_job_and_get_equal_answers(stack: Stack) -> None:
    start = threading.Barrier(50)

    def send() -> httpx.Response:
        start.wait()
        return submit(stack)

    with ThreadPoolExecutor(50) as pool:
        answers = [sent.result() for sent in [pool.submit(send) for _ in range(50)]]
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert [job["id"] for job in jobs(stack)] == [answers[0].json()["id"]]
    assert len(stack.inputs()) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 8},
        {"seed": None},
        {"seed": None, "seeds": 7},
        {"prompt": "b"},
        {"negative_prompt": "a"},
        {"params": '{"eta": 0.5}'},
        {"metadata": '{"a": "b"}'},
        {"deadline": 5},
        {"ttl": 5},
        {"target": encoded(gradient(), "JPEG")},
        {"reference": TARGET},
        {"target_mask": MASK},
    ],
)
def test_another_body_with_the_key_is_refused(stack: Stack, other: dict[str, Any]) -> None:
    body: dict[str, Any] = {"seed": 7, "prompt": "a"}
    assert submit(stack, **body).status_code == 202
    problem(submit(stack, **{**body, **other}), 422, "idempotency_key_reused")
    assert len(jobs(stack)) == 1
    assert len(stack.inputs()) == 2


def test_the_parts_count_and_not_their_order_names_or_spelling(stack: Stack) -> None:
    first = submit(stack, seed=7, params='{"eta": 0.5}')
    parts: list[tuple[str, Any]] = [
        ("params", (None, '{ "eta" : 5e-1 }')),
        ("prompt", (None, "")),
        ("reference", ("other.png", REFERENCE, "image/jpeg")),
        ("seed", (None, "7")),
        ("target", ("name.jpg", TARGET, "image/png")),
    ]
    again = stack.http.post("/v1/transfers", files=parts, headers={"Idempotency-Key": f'"{KEY}"'})
    assert again.json() == first.json()


def test_other_keys_and_no_key_are_other_submissions(stack: Stack) -> None:
    answers = [submit(stack), submit(stack, key="b"), stack.submit(), stack.submit()]
    assert len({answer.json()["id"] for answer in answers}) == 4


def test_a_refused_submission_leaves_its_key_free(stack: Stack) -> None:
    problem(submit(stack, target=b"no picture"), 415, "image_type_unsupported")
    assert submit(stack).status_code == 202


def test_a_full_queue_leaves_the_key_free(start_stack: StartStack) -> None:
    stack = start_stack(max_queued=1)
    blocking = stack.submitted()
    problem(submit(stack), 503, "queue_full")
    stack.http.post(blocking["urls"]["cancel"])
    assert submit(stack).status_code == 202


def test_while_the_first_is_being_admitted_others_wait_and_then_conflict(stack: Stack) -> None:
    held = submit(stack)
    assert held.status_code == 202
    key = _held_elsewhere(stack, "slow")
    answer = submit(stack, key="slow")
    problem(answer, 409, "idempotency_key_in_use")
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.elapsed.total_seconds() >= 4.5
    stack.stores.reservations.withdraw("elsewhere", tenant="local", key=key)
    assert submit(stack, key="slow").status_code == 202


def test_one_that_waits_goes_on_when_the_first_gives_up(stack: Stack) -> None:
    key = _held_elsewhere(stack, "slow")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(submit, stack, "slow")
        stack.stores.reservations.withdraw("elsewhere", tenant="local", key=key)
        assert waiting.result().status_code == 202


def _held_elsewhere(stack: Stack, name: str) -> IdempotencyKey:
    """Another process holds the key for what `submit` sends by default."""
    pictures = {name: hashlib.sha256(data).hexdigest() for name, data in (("target", TARGET), ("reference", REFERENCE))}
    fields: dict[str, Any] = {
        "seed": None,
        "seeds": None,
        "webhook": None,
        "prompt": "",
        "negative_prompt": "",
        "params": TransferParams().model_dump(mode="json"),
    }
    fields |= {"metadata": {}, "deadline": None, "ttl": None, "priority": 0, "output": Output().model_dump()}
    asked = json.dumps({"kind": "transfer", "pictures": pictures, "fields": fields}, sort_keys=True)
    key = IdempotencyKey.of(name, hashlib.sha256(asked.encode()).hexdigest())
    assert stack.stores.reservations.reserve("elsewhere", tenant="local", key=key) is None
    return key


@pytest.mark.parametrize("key", ["", "a b", "\u00e4".encode(), "x" * 300])
def test_keys_that_are_none(stack: Stack, key: str | bytes) -> None:
    answer = stack.submit(headers={"Idempotency-Key": key})
    assert problem(answer, 422, "invalid_request")["errors"][0]["pointer"] == "/header/idempotency-key"


@pytest.fixture
def way(redis: Redis, redis_server: EmbeddedRedis) -> Iterator[LossyWay]:
    with lossy_way(redis_server.url) as found:
        yield found


@pytest.mark.parametrize("key", [KEY, ""])
def test_a_lost_reply_leaves_a_job_that_can_run(start_stack: StartStack, way: LossyWay, key: str) -> None:
    stack = start_stack(redis_url=way.url)
    headers = {"Idempotency-Key": key} if key else {}
    claimed = stack.submitted()["id"]  # from now on Redis knows the scripts
    assert claim(stack).record.id == claimed
    way.lose_after = b'"kind":"transfer"'
    problem(stack.submit(headers=headers), 503, "store_unavailable")
    way.lose_after = None
    (job,) = [job for job in jobs(stack) if job["status"] == "queued"]
    inputs = claim(stack).record.spec.inputs
    assert stack.objects.exists(inputs.target)
    assert stack.objects.exists(inputs.reference)
    if key:
        again = submit(stack)
        assert again.json()["id"] == job["id"]
        assert again.json()["status"] == "queued"
        assert len(jobs(stack)) == 2


def test_inputs_of_a_submission_that_never_arrived_are_collected(stack: Stack) -> None:
    kept = stack.submitted()["id"]
    stack.stores.reservations.reserve("lost", tenant="local")
    stack.objects.put("inputs/local/lost/target.png", b"x", "image/png")
    GarbageCollector(stack.stores, stack.objects).collect()
    assert len(stack.inputs()) == 3
    GarbageCollector(stack.stores, stack.objects, abandoned_age_s=0).collect()
    assert sorted(stack.inputs()) == [f"inputs/local/{kept}/{name}.png" for name in ("reference", "target")]
    assert stack.stores.cleanup_queue.abandoned(0, 10) == []
