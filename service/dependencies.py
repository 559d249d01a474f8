"""What the routes are given: the stores of this process, who calls, and which job is meant."""

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Request

from jobs.errors import JobNotFound
from jobs.objects import ObjectStore
from jobs.schema import Record
from jobs.store import JobStore
from service.schemas import Transfer
from service.settings import ServiceSettings

_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Caller:
    """One request's view: the stores, and the tenant whose jobs it may see."""

    store: JobStore
    objects: ObjectStore
    settings: ServiceSettings
    tenant: str

    def job(self, job_id: str) -> Record:
        """Raises JobNotFound, also for another tenant's job, JobGone and StoreUnavailable."""
        return self.store.get(job_id, tenant=self.tenant)

    def show(self, record: Record) -> Transfer:
        return Transfer.of(record, self.settings.public_url)


def _caller(request: Request) -> Caller:
    state = request.app.state
    # The gate has let the request in; what it leaves open, like health, belongs to nobody and has no tenant.
    tenant = getattr(request.state, "tenant", "")
    return Caller(state.store, state.objects, state.settings, tenant)


def _job_id(id: Annotated[str, Path(description="The job's `id`.")]) -> str:
    # Only well-formed ids reach the store, where they become part of a key.
    if not _JOB_ID.fullmatch(id):
        raise JobNotFound("There is no such job.")
    return id


Called = Annotated[Caller, Depends(_caller)]
JobId = Annotated[str, Depends(_job_id)]
