"""What routes have to do with jobs that are over: the files of a result, and deletion."""

import structlog
from fastapi import Response

from jobs.errors import JobsError, ObjectNotFound
from jobs.objects import ObjectStore, all_prefixes, attachment
from jobs.schema import JobResult, Record, StoredFile, StoredVariant
from jobs.stores.redis_stores import RedisStores
from service.errors import PROBLEMS, Problem
from service.polling import matches_tag

log = structlog.get_logger()


def result_of(record: Record) -> JobResult:
    """Raises Problem when the job has no result, or none yet."""
    if record.result is not None:
        return record.result
    extra = {"job_status": record.status, "job_error": record.error}
    code = f"job_{record.status}"  # job_failed, job_canceled, job_expired
    if code in PROBLEMS:
        raise Problem(code, record.error.message if record.error else None, extra=extra)
    raise Problem("not_finished", f"The job is {record.status}.", extra=extra)


def variant_of(record: Record, seed: int | None) -> StoredVariant:
    """What the job has made with this seed, or with its first. Raises Problem as `result_of` does, and `no_variant`."""
    for variant in result_of(record).variants:
        if seed in (None, variant.seed):
            return variant
    raise Problem("no_variant")


def file_response(file: StoredFile, objects: ObjectStore, if_none_match: str) -> Response:
    """The bytes of a result, or 304. Raises Problem `result_gone`, and ObjectsUnavailable."""
    headers = {
        "ETag": f'"{file.sha256}"',
        "Cache-Control": "private, no-cache",
        "Content-Disposition": attachment(file.key),
    }
    if matches_tag(if_none_match, file.sha256):
        return Response(status_code=304, headers=headers)
    try:
        data = objects.get(file.key)
    except ObjectNotFound as error:
        raise Problem("result_gone") from error
    return Response(data, media_type=file.content_type, headers=headers)


def delete_job(record: Record, stores: RedisStores, objects: ObjectStore) -> None:
    """The record first: no client is shown a job that is half gone."""
    stores.jobs.delete(record.id, tenant=record.tenant)
    try:
        for prefix in all_prefixes(record.tenant, record.id):
            objects.delete_prefix(prefix)
        stores.cleanup_queue.forget_expired(record.tenant, record.id)
    except JobsError:
        log.warning("objects.left", job_id=record.id)  # the collector has them on its list
