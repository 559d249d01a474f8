"""What routes ask for by annotation: the stores of this process, the tenant, a job, and headers that many share."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request, Response
from pydantic import AfterValidator

from jobs.errors import JobNotFound
from jobs.objects import ObjectStore
from jobs.schema import JobKind, Record, Seed, Status, StoredFile
from jobs.stores.redis_stores import RedisStores
from service.job_responses import file_response
from service.polling import preferred_wait_s, settled
from service.schemas.job import Matching, Transfer, shown_job
from service.schemas.strict_json import never_null
from service.settings import ServiceSettings
from service.signed_urls import SignedUrls
from service.streaming import EventStream
from service.submissions.admission import Admission
from service.submissions.asset_admission import AssetAdmission
from uploads.decoder_pool import DecoderPool

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

# --- headers and queries --------------------------------------------------------------------------------------------


def _unquoted(key: str) -> str:
    """The draft wants a quoted string and most clients send a bare one: both name the same key."""
    quoted = len(key) > 2 and key[0] == key[-1] == '"'
    return key[1:-1] if quoted else key


IdempotencyKey = Annotated[
    str,
    Header(
        description="A word of the client's choice, as random as a UUID and kept for a day. The same submission with "
        "the same key is run once and always answered alike.",
        pattern=r"^[!-~]{1,257}$",
    ),
    AfterValidator(_unquoted),
]
IfNoneMatch = Annotated[str, Header(description="ETags that the client has. If one fits: 304.")]
Prefer = Annotated[
    str, Header(description="`wait=10`: the answer may take that many seconds, at most 60, if the job ends meanwhile.")
]
LastEventId = Annotated[str, Header(description="`id` of the last event that the client has seen.")]
OfStatus = Annotated[Status | None, Query(description="Only jobs in this state.", json_schema_extra=never_null)]
OfSeed = Annotated[
    Seed | None, Query(description="One of the job's `seeds`; absent, the first.", json_schema_extra=never_null)
]
Limit = Annotated[int, Query(ge=1, le=100, description="Most jobs on one page.")]
Cursor = Annotated[
    str | None,
    Query(description="`next` of the page before.", pattern=r"^[0-9]{1,15}$", json_schema_extra=never_null),
]

# --- what all requests to this process share ------------------------------------------------------------------------


@dataclass(slots=True)
class Resources:
    """`app.state.resources`. Safe to share between threads."""

    settings: ServiceSettings
    stores: RedisStores
    objects: ObjectStore
    signed_urls: SignedUrls
    decoders: DecoderPool
    admission: Admission
    asset_admission: AssetAdmission
    stopping: bool = False
    """Set when the process stops: then streams and waits end."""


def _resources(request: Request) -> Resources:
    found: Resources = request.app.state.resources
    return found


async def _stores(request: Request) -> RedisStores:
    return _resources(request).stores


async def _objects(request: Request) -> ObjectStore:
    return _resources(request).objects


async def _signed_urls(request: Request) -> SignedUrls:
    return _resources(request).signed_urls


async def _base_url(request: Request) -> str:
    return _resources(request).settings.base_url


async def _admission(request: Request) -> Admission:
    return _resources(request).admission


async def _asset_admission(request: Request) -> AssetAdmission:
    return _resources(request).asset_admission


async def _stopping(request: Request) -> Callable[[], bool]:
    resources = _resources(request)
    return lambda: resources.stopping


Stores = Annotated[RedisStores, Depends(_stores)]
Objects = Annotated[ObjectStore, Depends(_objects)]
Urls = Annotated[SignedUrls, Depends(_signed_urls)]
BaseUrl = Annotated[str, Depends(_base_url)]
JobAdmission = Annotated[Admission, Depends(_admission)]
AssetUploads = Annotated[AssetAdmission, Depends(_asset_admission)]
Stopping = Annotated[Callable[[], bool], Depends(_stopping)]

# --- who asks, and for which job ------------------------------------------------------------------------------------


async def _current_tenant(request: Request) -> str:
    # What needs no key, like the health checks, belongs to no tenant.
    return getattr(request.state, "tenant", "")


CurrentTenant = Annotated[str, Depends(_current_tenant)]


def is_id(text: str) -> bool:
    """Only well-formed ids reach the store, where they become part of a key."""
    return _ID.fullmatch(text) is not None


def job_of(kind: JobKind) -> Callable[..., Record]:
    """A dependency: the job of this kind that the path names."""

    def find(id: Annotated[str, Path(description="The job's `id`.")], stores: Stores, tenant: CurrentTenant) -> Record:
        """Raises JobNotFound, also for another tenant's job and one of another kind, JobGone and StoreUnavailable."""
        record = stores.jobs.get(id, tenant=tenant) if is_id(id) else None
        if record is None or record.spec.kind is not kind:
            raise JobNotFound("There is no such job.")
        return record

    return find


CurrentTransfer = Annotated[Record, Depends(job_of(JobKind.TRANSFER))]
CurrentMatching = Annotated[Record, Depends(job_of(JobKind.MATCHES))]

# --- how responses are made -----------------------------------------------------------------------------------------


async def _show_job(base_url: BaseUrl, urls: Urls) -> Callable[[Record], Transfer | Matching]:
    """Raises StoreUnavailable and ObjectsUnavailable when a link cannot be made."""
    return partial(shown_job, base_url=base_url, file=urls.file)


async def _wait_for_end(
    request: Request, response: Response, stores: Stores, stopping: Stopping, prefer: Prefer = ""
) -> Callable[[Record], Awaitable[Record]]:
    """Waits for the end of a job as long as the client prefers, which the response then confirms."""
    wait_s = preferred_wait_s(prefer)

    async def wait(record: Record) -> Record:
        if not wait_s:
            return record
        response.headers["Preference-Applied"] = f"wait={wait_s}"
        look = partial(stores.jobs.get, record.id, tenant=record.tenant)
        return await settled(record, look, wait_s=wait_s, stopping=stopping, left=request.is_disconnected)

    return wait


async def _send_file(objects: Objects, if_none_match: IfNoneMatch = "") -> Callable[[StoredFile], Response]:
    return partial(file_response, objects=objects, if_none_match=if_none_match)


async def _event_stream(response: Response, stopping: Stopping, last_event_id: LastEventId = "") -> EventStream:
    response.headers["Cache-Control"] = "no-store"  # beside FastAPI's no-cache
    return EventStream(last_event_id, stopping)


ShowJob = Annotated[Callable[[Record], Transfer | Matching], Depends(_show_job)]
WaitForEnd = Annotated[Callable[[Record], Awaitable[Record]], Depends(_wait_for_end)]
SendFile = Annotated[Callable[[StoredFile], Response], Depends(_send_file)]
Events = Annotated[EventStream, Depends(_event_stream)]
