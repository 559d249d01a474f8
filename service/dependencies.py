"""What the routes are given: the stores of this process, who calls, and which job is meant."""

import re
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import Depends, Header, Path, Query, Request, Response
from pydantic import AfterValidator

from jobs.errors import JobNotFound
from jobs.objects import ObjectStore
from jobs.schema import JobKind, Page, Record, Status
from jobs.stores.redis_stores import RedisStores
from jobs.webhooks import Webhook
from service.outbound import Outbound
from service.polling import preferred_wait_s, settled
from service.schemas.job import Matching, Transfer
from service.schemas.submission import never_null
from service.settings import ServiceSettings
from service.signed_urls import Links
from service.webhooks.payload import require_deliverable

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Caller:
    """One request's view: the stores, and the tenant whose jobs it may see."""

    stores: RedisStores
    objects: ObjectStore
    settings: ServiceSettings
    links: Links
    tenant: str
    request: Request

    def job(self, job_id: str, kind: JobKind = JobKind.TRANSFER) -> Record:
        """Raises JobNotFound, also for another tenant's job and one of another kind, JobGone and StoreUnavailable."""
        record = self.stores.jobs.get(job_id, tenant=self.tenant)
        if record.spec.kind is not kind:
            raise JobNotFound("There is no such job.")
        return record

    def jobs(self, kind: JobKind, status: Status | None, limit: int, cursor: str | None) -> Page:
        """Raises StoreUnavailable."""
        return self.stores.jobs.list_jobs(tenant=self.tenant, kind=kind, limit=limit, cursor=cursor, status=status)

    async def waited(self, record: Record, prefer: str, response: Response) -> Record:
        """The record, after waiting for its end as long as the client would have it; says so in the answer."""
        wait_s = preferred_wait_s(prefer)
        if not wait_s:
            return record
        response.headers["Preference-Applied"] = f"wait={wait_s}"
        state = self.request.app.state
        return await settled(
            record,
            partial(self.job, record.id, record.spec.kind),
            wait_s=wait_s,
            stopping=lambda: bool(state.stopping),
            left=self.request.is_disconnected,
        )

    async def require_webhook(self, webhook: Webhook | None) -> None:
        """As `require_deliverable`, for a submission that may ask for a webhook or not."""
        if webhook is not None:
            await run_sync(self.require_deliverable, webhook.url)

    def require_deliverable(self, url: str) -> None:
        """Raises Problem when no event could be sent to this URL, and StoreUnavailable."""
        outbound: Outbound = self.request.app.state.webhook_outbound
        require_deliverable(url, self.tenant, self.stores.webhook_secrets, outbound)

    def show(self, record: Record) -> Transfer:
        """Raises StoreUnavailable and ObjectsUnavailable when a link cannot be made."""
        return Transfer.of(record, self.settings.public_url, self.links.file)

    def show_matching(self, record: Record) -> Matching:
        """Raises StoreUnavailable and ObjectsUnavailable when a link cannot be made."""
        return Matching.of(record, self.settings.public_url, self.links.file)


def _caller(request: Request) -> Caller:
    state = request.app.state
    # The gate has let the request in; what it leaves open, like health, belongs to nobody and has no tenant.
    tenant = getattr(request.state, "tenant", "")
    return Caller(state.stores, state.objects, state.settings, state.links, tenant, request)


def is_id(text: str) -> bool:
    """Only well-formed ids reach the store, where they become part of a key."""
    return _ID.fullmatch(text) is not None


def _job_id(id: Annotated[str, Path(description="The job's `id`.")]) -> str:
    if not is_id(id):
        raise JobNotFound("There is no such job.")
    return id


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
OfStatus = Annotated[Status | None, Query(description="Only jobs in this state.", json_schema_extra=never_null)]
Limit = Annotated[int, Query(ge=1, le=100, description="Most jobs on one page.")]
Cursor = Annotated[
    str | None,
    Query(description="`next` of the page before.", pattern=r"^[0-9]{1,15}$", json_schema_extra=never_null),
]
LastEventId = Annotated[str, Header(description="`id` of the last event that the client has seen.")]
Called = Annotated[Caller, Depends(_caller)]
JobId = Annotated[str, Depends(_job_id)]
