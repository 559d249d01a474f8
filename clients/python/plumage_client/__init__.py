"""Client of the Plumage API: repaint one picture with the appearance of another, part by part.

    from plumage_client import Plumage

    with Plumage("http://127.0.0.1:8000") as plumage:
        plumage.run("A.jpg", "B.jpg", out="OUT.png", on_change=lambda job: print(f"{job.progress.value:.0%}"))

`AsyncPlumage` is the same with `await`.
"""

from plumage_client._async.client import AsyncPlumage
from plumage_client._sync.client import Plumage
from plumage_client.errors import (
    ApiError,
    Conflict,
    Forbidden,
    Gone,
    InvalidRequest,
    JobCanceled,
    JobEnded,
    JobExpired,
    JobFailed,
    NoConnection,
    NotFound,
    PlumageError,
    RateLimited,
    ServerError,
    StillRunning,
    TimedOut,
    Unauthorized,
    WebhookRefused,
)
from plumage_client.models import (
    Asset,
    Batch,
    BatchItem,
    BatchResult,
    FieldError,
    File,
    Job,
    Matching,
    MatchingResult,
    Problem,
    Progress,
    Result,
    Status,
    Transfer,
    Variant,
)
from plumage_client.pictures import Picture
from plumage_client.retries import Retries
from plumage_client.webhooks import Webhook

__all__ = [
    "ApiError",
    "Asset",
    "AsyncPlumage",
    "Batch",
    "BatchItem",
    "BatchResult",
    "Conflict",
    "FieldError",
    "File",
    "Forbidden",
    "Gone",
    "InvalidRequest",
    "Job",
    "JobCanceled",
    "JobEnded",
    "JobExpired",
    "JobFailed",
    "Matching",
    "MatchingResult",
    "NoConnection",
    "NotFound",
    "Picture",
    "Plumage",
    "PlumageError",
    "Problem",
    "Progress",
    "RateLimited",
    "Result",
    "Retries",
    "ServerError",
    "Status",
    "StillRunning",
    "TimedOut",
    "Transfer",
    "Unauthorized",
    "Variant",
    "Webhook",
    "WebhookRefused",
]
