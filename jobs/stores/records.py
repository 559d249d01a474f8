"""Between the Redis hash of a job, written only by the Lua scripts, and `Record`."""

import json
from collections.abc import Mapping, Sequence

from jobs.schema import JobError, JobResult, JobSpec, Progress, Record, Status
from jobs.stores.scripts import fields_of, to_datetime
from jobs.webhooks import Delivery, DeliveryStatus

Snapshot = Sequence[object]
"""[[field, value, …], queue position or None] as the scripts return it."""


def read_record(snapshot: Snapshot) -> Record:
    flat, position = snapshot
    fields = fields_of(flat)
    status = Status(fields["status"])
    return Record(
        id=fields["id"],
        tenant=fields["tenant"],
        status=status,
        attempt=int(fields["attempt"]),
        spec=JobSpec.model_validate_json(fields["spec"]),
        progress=_progress(int(fields["step"]), int(fields["steps"]), done=status is Status.SUCCEEDED),
        queue_position=position if isinstance(position, int) else None,
        created_at=to_datetime(fields["created_at"]),
        started_at=to_datetime(fields["started_at"]) if "started_at" in fields else None,
        finished_at=to_datetime(fields["finished_at"]) if "finished_at" in fields else None,
        error=JobError.model_validate_json(fields["error"]) if "error" in fields else None,
        result=JobResult.model_validate_json(fields["result"]) if "result" in fields else None,
        preview_key=fields.get("preview_key"),
        deliveries=tuple(map(read_delivery, json.loads(fields.get("deliveries", "[]")))),
    )


def read_delivery(fields: Mapping[str, str]) -> Delivery:
    status = DeliveryStatus(fields["status"])
    return Delivery(
        id=fields["id"],
        event=fields["event"],
        status=status,
        attempts=int(fields["attempts"]),
        http_status=int(fields["http_status"]) if fields.get("http_status") else None,
        error=fields.get("error") or None,
        created_at=to_datetime(fields["created_at"]),
        next_attempt_at=to_datetime(fields["due"]) if status is DeliveryStatus.PENDING else None,
        settled_at=to_datetime(fields["settled_at"]) if "settled_at" in fields else None,
    )


def _progress(step: int, steps: int, *, done: bool) -> Progress:
    value = 1.0 if done else min(1.0, step / steps) if steps else 0.0
    return Progress(step=step, steps=steps, value=value)
