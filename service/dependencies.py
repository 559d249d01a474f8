"""What the routes are given: the stores of this process, who calls, and which job is meant."""

import re
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from fastapi import Depends, Header, Path, Request, Response
from pydantic import AfterValidator

from jobs.errors import JobNotFound
from jobs.objects import ObjectStore
from jobs.outbound import Outbound
from jobs.schema import Record
from jobs.store import JobStore
from service.polling import preferred_wait_s, settled
from service.schemas import Transfer
from service.settings import ServiceSettings
from service.webhooks import require_deliverable

_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Caller:
    """One request's view: the stores, and the tenant whose jobs it may see."""

    store: JobStore
    objects: ObjectStore
    settings: ServiceSettings
    tenant: str
    request: Request

    def job(self, job_id: str) -> Record:
        """Raises JobNotFound, also for another tenant's job, JobGone and StoreUnavailable."""
        return self.store.get(job_id, tenant=self.tenant)

    async def waited(self, record: Record, prefer: str, response: Response) -> Record:
        """The record, after waiting for its end as long as the client would have it; says so in the answer."""
        wait_s = preferred_wait_s(prefer)
        if not wait_s:
            return record
        response.headers["Preference-Applied"] = f"wait={wait_s}"
        state = self.request.app.state
        return await settled(
            record,
            partial(self.job, record.id),
            wait_s=wait_s,
            stopping=lambda: bool(state.stopping),
            left=self.request.is_disconnected,
        )

    def require_deliverable(self, url: str) -> None:
        """Raises Problem when no event could be sent to this URL, and StoreUnavailable."""
        outbound: Outbound = self.request.app.state.webhook_outbound
        require_deliverable(url, self.tenant, self.store.webhook_secrets, outbound)

    def show(self, record: Record) -> Transfer:
        return Transfer.of(record, self.settings.public_url)


def _caller(request: Request) -> Caller:
    state = request.app.state
    # The gate has let the request in; what it leaves open, like health, belongs to nobody and has no tenant.
    tenant = getattr(request.state, "tenant", "")
    return Caller(state.store, state.objects, state.settings, tenant, request)


def _job_id(id: Annotated[str, Path(description="The job's `id`.")]) -> str:
    # Only well-formed ids reach the store, where they become part of a key.
    if not _JOB_ID.fullmatch(id):
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
Called = Annotated[Caller, Depends(_caller)]
JobId = Annotated[str, Depends(_job_id)]
