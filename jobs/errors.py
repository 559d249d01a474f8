"""What can go wrong between the service and the workers.

    JobsError
    ├── StoreUnavailable        Redis does not answer, is loading, read-only, or out of memory
    ├── QueueFull               the bound on queued jobs is reached; has `retry_after_s`
    │   ├── TooManyJobs         the bound on one tenant's unfinished jobs is reached
    │   └── TooManyAssets       the bound on one tenant's assets is reached
    ├── BatchNotFound           no such batch, or another tenant's
    ├── BatchGone               the batch existed, its retention is over
    ├── AssetNotFound           no such asset, or another tenant's, or its time is over
    ├── JobNotFound             no such job, or another tenant's
    ├── JobGone                 the job existed, its retention is over
    ├── InvalidTransition       the status machine does not allow it
    ├── IdempotencyKeyReused    the key came before with another submission
    ├── IdempotencyKeyInUse     the first submission with this key has not been answered yet
    ├── KeyRefused              an API key is unknown, expired or revoked
    ├── KeyUnknown              no API key has this id
    ├── SecretUnknown           no webhook secret has this id
    ├── DeliveryNotFound        no such delivery to a webhook, or another tenant's
    ├── ObjectNotFound          no object under this key
    ├── ObjectExists            create-only write, and the key is taken
    ├── ObjectsUnavailable      the object store does not answer
    └── ObjectCorrupt           the object store returns other bytes than were written

Messages are fit for people outside: no addresses, no secrets, no tracebacks.
"""


class JobsError(Exception):
    """Base of all errors of this package. `code` is stable and machine-readable."""

    code = "jobs_error"


class StoreUnavailable(JobsError):
    code = "store_unavailable"


class QueueFull(JobsError):
    code = "queue_full"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooManyJobs(QueueFull):
    code = "too_many_jobs"


class TooManyAssets(QueueFull):
    code = "too_many_assets"


class BatchNotFound(JobsError):
    code = "batch_not_found"


class BatchGone(JobsError):
    code = "batch_gone"


class AssetNotFound(JobsError):
    code = "asset_not_found"


class JobNotFound(JobsError):
    code = "job_not_found"


class JobGone(JobsError):
    code = "job_gone"


class InvalidTransition(JobsError):
    code = "invalid_transition"


class IdempotencyKeyReused(JobsError):
    code = "idempotency_key_reused"


class IdempotencyKeyInUse(JobsError):
    code = "idempotency_key_in_use"


class KeyRefused(JobsError):
    code = "key_refused"


class KeyUnknown(JobsError):
    code = "key_unknown"


class SecretUnknown(JobsError):
    code = "secret_unknown"


class DeliveryNotFound(JobsError):
    code = "delivery_not_found"


class ObjectNotFound(JobsError):
    code = "object_not_found"


class ObjectExists(JobsError):
    code = "object_exists"


class ObjectsUnavailable(JobsError):
    code = "objects_unavailable"


class ObjectCorrupt(JobsError):
    code = "object_corrupt"
