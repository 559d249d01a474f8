"""Plays the worker: the store's other side, without a model."""

import hashlib

from jobs.objects import preview_key, result_key
from jobs.schema import Claim, JobResult, ModelIdentity, StoredMask, WorkerPresence, WorkerState
from tests.contract.http.conftest import Stack
from tests.pictures import encoded, gradient

MODEL = ModelIdentity(id="mini", revision="1234", device="cpu", dtype="float32")
PICTURE = encoded(gradient())
PREVIEW = encoded(gradient(), "JPEG")
SHA256 = hashlib.sha256(PICTURE).hexdigest()


def claim(stack: Stack) -> Claim:
    found = stack.store.claim("w1")
    assert found is not None
    return found


def preview(stack: Stack, claimed: Claim, step: int = 3, steps: int = 12) -> None:
    key = preview_key(claimed.record.tenant, claimed.record.id, claimed.attempt)
    stack.objects.put(key, PREVIEW, "image/jpeg", overwrite=True)
    assert stack.store.report_progress(claimed, step, steps, key).held


def finish(stack: Stack, claimed: Claim, masks: dict[str, StoredMask] | None = None) -> None:
    record, attempt = claimed.record, claimed.attempt
    image_key = result_key(record.tenant, record.id, attempt, "image.png")
    stack.objects.put(image_key, PICTURE, "image/png")
    result = JobResult(
        width=48,
        height=32,
        sha256=SHA256,
        seed=record.spec.seed,
        model=MODEL,
        timings={"denoise": 12.5, "total": 20.0},
        image_key=image_key,
        matches_key=result_key(record.tenant, record.id, attempt, "matches.npz"),
        masks=masks or {},
    )
    assert stack.store.commit(claimed, result)


def announce(stack: Stack, state: WorkerState, detail: str = "") -> None:
    stack.store.announce(WorkerPresence(worker_id="w1", state=state, model=None, detail=detail))
