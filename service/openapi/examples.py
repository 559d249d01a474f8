"""Examples for the OpenAPI document, made by the models themselves, so that they cannot go stale."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel

from core.params.examples import TWO_REGIONS
from core.params.transfer import TransferParams
from jobs.inputs import InputKeys, InputSize
from jobs.schema import JobKind, JobResult, JobSpec, ModelIdentity, Progress, Record, Status, StoredFile
from service.schemas.batch_request import BatchRequest
from service.schemas.job import File, Matching, Transfer
from service.schemas.submission import TransferRequest

_JOB_ID = "06h0al6qcgbufgodk4g6sl9ekq1p7gspq20g"
_MIDDAY = datetime(2026, 3, 1, 12, tzinfo=UTC)
_SPEC = JobSpec(
    kind=JobKind.TRANSFER,
    inputs=InputKeys(target="", reference="", target_mask=None, reference_mask=None),
    sizes={"target": InputSize.of((6531, 4898), (8064, 6048)), "reference": InputSize.of((1024, 768), None)},
    params=TransferParams(),
    prompt="a peacock",
    negative_prompt="",
    seed=7,
)
_QUEUED = Record(
    id=_JOB_ID,
    tenant="",
    status=Status.QUEUED,
    attempt=0,
    spec=_SPEC,
    progress=Progress(step=0, steps=0, value=0.0),
    queue_position=1,
    created_at=_MIDDAY,
    started_at=None,
    finished_at=None,
    error=None,
    result=None,
    preview_key=None,
)


def _stored(content_type: str, size: int) -> StoredFile:
    sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    return StoredFile(key="", content_type=content_type, bytes=size, sha256=sha256)


def _file(stored: StoredFile) -> File:
    ends = _MIDDAY + timedelta(hours=2)
    return File(url="/v1/files/MTc3…", url_expires_at=ends, **stored.model_dump(exclude={"key"}))


_SUCCEEDED = _QUEUED.model_copy(
    update={
        "status": Status.SUCCEEDED,
        "attempt": 1,
        "progress": Progress(step=24, steps=24, value=1.0),
        "queue_position": None,
        "started_at": _MIDDAY + timedelta(seconds=1),
        "finished_at": _MIDDAY + timedelta(seconds=9),
        "result": JobResult(
            width=6531,
            height=4898,
            seed=7,
            model=ModelIdentity(id="models/mini", revision="5d41402abc4b2a76", device="cuda:0", dtype="bfloat16"),
            timings={"queue": 1000.0, "denoise": 7400.0, "total": 8000.0},
            image=_stored("image/png", 1_482_113),
            matches=_stored("application/zip", 41_207),
            matches_picture=_stored("image/png", 602_450),
        ),
    }
)


def _asset(digit: str) -> dict[str, str]:
    return {"asset": digit * 64}


_BY_REGION: dict[str, Any] = {
    "masks": {"left": _asset("c"), "right": _asset("d")},
    "pictures": {"leaf": _asset("e")},
    "params": TWO_REGIONS,
}


def transfer_requests() -> list[dict[str, Any]]:
    """One reference for all, and two regions with a reference each."""
    first = {"target": _asset("a"), "reference": _asset("b")}
    bodies = [{**first, "seed": 7}, {**first, **_BY_REGION}]
    return [_as_given(TransferRequest, each) for each in bodies]


def batch_requests() -> list[dict[str, Any]]:
    """One reference onto two targets, and one target that has a region of another reference."""
    items = [{"custom_id": name, "target": _asset(digit)} for name, digit in (("one", "a"), ("two", "f"))]
    reference = _asset("b")
    bodies: list[dict[str, Any]] = [
        {"reference": reference, "items": items},
        {"reference": reference, "items": items[:1], **_BY_REGION},
    ]
    return [_as_given(BatchRequest, each) for each in bodies]


def _as_given(model: type[BaseModel], body: dict[str, Any]) -> dict[str, Any]:
    """Raises ValidationError when the example has gone stale."""
    model.model_validate_json(json.dumps(body), strict=True)
    return body


def transfers() -> list[dict[str, Any]]:
    """A job that waits and one that is done, as clients see them."""
    return [Transfer.of(record, "", _file).model_dump(mode="json") for record in (_QUEUED, _SUCCEEDED)]


def matchings() -> list[dict[str, Any]]:
    """The same of jobs that match."""
    spec = _SPEC.model_copy(update={"kind": JobKind.MATCHES})
    records = [record.model_copy(update={"spec": spec}) for record in (_QUEUED, _SUCCEEDED)]
    return [Matching.of(record, "", _file).model_dump(mode="json") for record in records]
