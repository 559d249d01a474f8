"""What the routes are given: the stores of this process, who calls, and which job is meant."""

import re
from typing import Annotated, cast

from fastapi import Depends, Path, Request

from jobs.errors import JobNotFound
from jobs.objects import ObjectStore
from jobs.store import JobStore
from service.settings import ServiceSettings

LOCAL_TENANT = "local"
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _store(request: Request) -> JobStore:
    return cast(JobStore, request.app.state.store)


def _objects(request: Request) -> ObjectStore:
    return cast(ObjectStore, request.app.state.objects)


def _settings(request: Request) -> ServiceSettings:
    return cast(ServiceSettings, request.app.state.settings)


def _tenant() -> str:
    """Whose jobs the caller sees. There is one tenant until there are keys."""
    return LOCAL_TENANT


def _job_id(id: Annotated[str, Path(description="The job's `id`.")]) -> str:
    # Only well-formed ids reach the store, where they become part of a key.
    if not _JOB_ID.fullmatch(id):
        raise JobNotFound("There is no such job.")
    return id


Store = Annotated[JobStore, Depends(_store)]
Objects = Annotated[ObjectStore, Depends(_objects)]
Settings = Annotated[ServiceSettings, Depends(_settings)]
Tenant = Annotated[str, Depends(_tenant)]
JobId = Annotated[str, Depends(_job_id)]
