"""Plays the worker: the store's other side, without a model."""

import hashlib

from jobs.objects import preview_key, result_key
from jobs.schema import (
    Claim,
    JobKind,
    JobResult,
    ModelIdentity,
    StoredFile,
    StoredMask,
    StoredVariant,
    WorkerReport,
    WorkerState,
)
from tests.contract.http.conftest import Stack
from tests.pictures import encoded, gradient

MODEL = ModelIdentity(id="mini", revision="1234", device="cpu", dtype="float32")
PICTURE = encoded(gradient())
MAP = b"a map"
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
    assert stack.store.commit(claimed, put_result(stack, claimed, masks))


def put_result(stack: Stack, claimed: Claim, masks: dict[str, StoredMask] | None = None) -> JobResult:
    record, attempt = claimed.record, claimed.attempt

    def put(name: str, data: bytes, content_type: str) -> StoredFile:
        key = result_key(record.tenant, record.id, attempt, name)
        stack.objects.put(key, data, content_type)
        sha256 = hashlib.sha256(data).hexdigest()
        return StoredFile(key=key, content_type=content_type, bytes=len(data), sha256=sha256)

    def variant(seed: int) -> StoredVariant:
        return StoredVariant(
            seed=seed,
            image=put(f"image-{seed}.png", PICTURE, "image/png"),
            matches=put(f"matches-{seed}.npz", MAP, "application/zip"),
            matches_picture=put(f"matches-{seed}.png", PICTURE, "image/png"),
        )

    painted = record.spec.kind is JobKind.TRANSFER
    return JobResult(
        width=48,
        height=32,
        seed=record.spec.seed,
        model=MODEL,
        timings={"denoise": 12.5, "total": 20.0},
        image=put("image.png", PICTURE, "image/png") if painted else None,
        matches=put("matches.npz", MAP, "application/zip"),
        matches_picture=put("matches.png", PICTURE, "image/png"),
        masks=masks or {},
        more=tuple(variant(seed) for seed in record.spec.more_seeds),
    )


def announce(stack: Stack, state: WorkerState, detail: str = "") -> None:
    stack.store.report_worker(WorkerReport(worker_id="w1", state=state, model=None, detail=detail))
