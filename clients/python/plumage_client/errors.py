"""Everything that the client raises.

PlumageError
├── ApiError            the API refused, with a stable `code`
│   ├── InvalidRequest      400, 405, 413, 415, 422
│   ├── Unauthorized        401
│   ├── Forbidden           403
│   ├── NotFound            404
│   ├── Conflict            409
│   ├── Gone                410
│   ├── RateLimited         429
│   └── ServerError         5xx
├── NoConnection        the API could not be reached, or its answer could not be read
├── JobEnded            the job is over and has no result
│   ├── JobFailed
│   ├── JobCanceled
│   └── JobExpired
├── TimedOut            the job had not ended in the given time
├── StillRunning        the batch had not ended in the given time
└── WebhookRefused      a message that is not from the service, or too old
"""

import json
from typing import Any

from plumage_client.models import Batch, FieldError, Job, Problem


class PlumageError(Exception):
    """Base of all errors of this package."""


class NoConnection(PlumageError):
    """The cause is `__cause__`."""


class ApiError(PlumageError):
    """The API refused. `code` is stable; `problem` holds the rest, `retry_after` seconds to wait, if it said so."""

    def __init__(self, problem: Problem, retry_after: float | None = None) -> None:
        super().__init__(f"{problem.code}: {problem.detail}")
        self.problem = problem
        self.code = problem.code
        self.status = problem.status
        self.errors: list[FieldError] = problem.errors
        self.request_id = problem.request_id
        self.retry_after = retry_after


class InvalidRequest(ApiError):
    pass


class Unauthorized(ApiError):
    pass


class Forbidden(ApiError):
    pass


class NotFound(ApiError):
    pass


class Conflict(ApiError):
    pass


class Gone(ApiError):
    pass


class RateLimited(ApiError):
    pass


class ServerError(ApiError):
    pass


class JobEnded(PlumageError):
    """`job` is its last record."""

    def __init__(self, job: Job) -> None:
        reason = f": {job.error.message}" if job.error else ""
        super().__init__(f"job {job.id} {job.status}{reason}")
        self.job = job


class JobFailed(JobEnded):
    pass


class JobCanceled(JobEnded):
    pass


class JobExpired(JobEnded):
    pass


class TimedOut(PlumageError):
    """`job` is its last known record. It goes on."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"job {job.id} is still {job.status}")
        self.job = job


class StillRunning(PlumageError):
    """`batch` as it was last. It goes on."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(f"batch {batch.id} has not ended")
        self.batch = batch


class WebhookRefused(PlumageError):
    """The message is not to be trusted."""


_BY_STATUS: dict[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    429: RateLimited,
}
_BY_END: dict[str, type[JobEnded]] = {"failed": JobFailed, "canceled": JobCanceled, "expired": JobExpired}


def error_of(status: int, body: bytes, *, request_id: str, retry_after: float | None) -> ApiError:
    """What an answer of 400 and above means. A body that is no problem document, of a proxy say, gets code
    `http_error`."""
    problem = Problem(
        title="", status=status, detail=f"answered {status}", code="http_error", errors=[], request_id=request_id
    )
    try:
        found: Any = json.loads(body)
        problem = Problem.model_validate(found)
    except ValueError:
        pass
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else InvalidRequest)
    return kind(problem, retry_after)


def end_of(job: Job) -> JobEnded:
    """The error for a job that ended without a result."""
    return _BY_END.get(job.status, JobEnded)(job)
