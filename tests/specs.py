"""Job specifications for tests of the store and of workers."""

import json
from functools import cache

from core.params.transfer import TransferParams
from jobs.inputs import InputKeys
from jobs.objects import ObjectStore, input_key
from jobs.schema import JobKind, JobResult, JobSpec, ModelIdentity, StoredFile
from tests.pictures import encoded, gradient

MODEL = ModelIdentity(id="tiny", revision="0", device="cpu", dtype="float32")


def make_spec(*, tenant: str = "local", job_id: str = "job", priority: int = 0, **behaviour: object) -> JobSpec:
    """`behaviour` is read by the stand-in for the sampler; the real one takes it for a prompt."""
    return JobSpec(
        kind=JobKind.TRANSFER,
        inputs=InputKeys(
            target=input_key(tenant, job_id, "target.png"),
            reference=input_key(tenant, job_id, "reference.png"),
            target_mask=None,
            reference_mask=None,
        ),
        params=TransferParams(num_inference_steps=4),
        prompt=json.dumps(behaviour) if behaviour else "",
        negative_prompt="",
        seed=7,
        priority=priority,
    )


@cache
def _inputs() -> tuple[bytes, bytes]:
    return encoded(gradient()), encoded(gradient().rotate(180))


def put_inputs(objects: ObjectStore, spec: JobSpec) -> None:
    target, reference = _inputs()
    objects.put(spec.inputs.target, target, "image/png")
    objects.put(spec.inputs.reference, reference, "image/png")


def make_result(image_key: str = "results/local/job/1/image.png") -> JobResult:
    return JobResult(
        width=48,
        height=32,
        seed=7,
        model=MODEL,
        timings={"total": 1.0},
        image=_stored(image_key, "image/png"),
        matches=_stored(image_key.replace("image.png", "matches.npz"), "application/zip"),
        matches_picture=_stored(image_key.replace("image.png", "matches.png"), "image/png"),
    )


def _stored(key: str, content_type: str) -> StoredFile:
    return StoredFile(key=key, content_type=content_type, bytes=0, sha256="0" * 64)
