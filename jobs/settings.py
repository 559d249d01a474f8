"""Settings that the service and the workers share, read from the environment once at process start."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class JobSettings(BaseSettings):
    """Each field is the environment variable `PLUMAGE_<FIELD>`. Durations are in seconds."""

    model_config = SettingsConfigDict(
        env_prefix="PLUMAGE_", env_ignore_empty=True, frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    redis_url: str | None = None
    """`redis://`, `rediss://` or `unix://` URL. Absent: the one-command stack starts its own server."""

    objects_url: str | None = None
    """`file:///folder`, `memory://`, `s3://bucket/prefix`, `gs://…`, `az://…`. Absent: inside `data_dir`."""

    objects_timeout_s: float = Field(default=30.0, gt=0, le=3600)
    """No try at reading or writing an object begins later than this after the first; each may take half of it."""

    objects_public_endpoint: str | None = Field(default=None, pattern=r"^https?://[^\s?#]+$")
    """Address under which clients reach the S3 server, where that is another than ours: links to results name it."""

    data_dir: Path = Path("data")
    """Folder of the embedded Redis and of the local object store."""

    prefix: str = Field(default="plumage", pattern=r"^[a-z][a-z0-9_-]{0,40}$")
    """First part of every Redis key of ours, and the name of the RQ queue."""

    lease_s: float = Field(default=5.0, gt=0.1, le=600)
    """A claimed job whose lease is not renewed for this long goes to another worker."""

    stall_s: float = Field(default=120.0, gt=0, le=86_400)
    """A worker stops renewing its lease when neither a step nor a phase was marked for this long."""

    job_timeout_s: float = Field(default=600.0, gt=0, le=86_400)
    """Longest run of one attempt. Past it the job fails; past it and `kill_grace_s` the process is killed."""

    kill_grace_s: float = Field(default=5.0, gt=0, le=600)
    """Time between a missed deadline (job timeout, drain) and `kill -9` of the worker process."""

    max_jobs_per_worker: int = Field(default=1000, ge=1)
    """A worker process is replaced after so many jobs."""

    max_growth_mb: int = Field(default=4096, ge=1)
    """A worker process is replaced when it uses so much more main memory than when it was ready."""

    drain_s: float = Field(default=20.0, ge=0, le=86_400)
    """On SIGTERM: time that the running job has to finish before it is handed back to the queue."""

    reap_every_s: float = Field(default=1.0, gt=0, le=60)
    """Pause between two rounds of the reaper."""

    max_attempts: int = Field(default=3, ge=1, le=100)
    """Workers that one job may kill or stall before it fails with `worker_lost`."""

    max_queued: int = Field(default=1000, ge=1, le=10_000_000)
    """Jobs that may wait at a time, all tenants together."""

    max_active_per_tenant: int | None = Field(default=None, ge=1, le=10_000_000)
    """Jobs that one tenant may have waiting and running at a time. Absent: as many as may wait at all."""

    retention_s: int = Field(default=86_400, ge=1, le=31_536_000)
    """A terminal record and its objects are kept for this long."""

    tombstone_s: int = Field(default=604_800, ge=1, le=31_536_000)
    """After retention an id is known to be gone (and not unknown) for this long."""

    idempotency_s: int = Field(default=86_400, ge=60, le=31_536_000)
    """The first answer to a submission with an `Idempotency-Key` is kept and repeated for this long."""

    asset_s: int = Field(default=86_400, ge=1, le=31_536_000)
    """An uploaded asset is kept for this long after it was uploaded last."""

    max_assets_per_tenant: int = Field(default=10_000, ge=1, le=10_000_000)
    """Assets that one tenant may have at a time."""

    mark_results: bool = True
    """Finished pictures carry, as XMP, that they are composites made with a model."""

    content_check: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """`package.module:function` of a check of the operator's own that workers hand every picture to."""

    commit_patience_s: float = Field(default=300.0, gt=0, le=86_400)
    """How long a finished result waits for an absent Redis or object store before the worker gives it up."""

    @property
    def retention_args(self) -> tuple[int, int]:
        """`retention_s` and `tombstone_s`, as the scripts take them."""
        return self.retention_s, self.tombstone_s

    def environment(self) -> dict[str, str]:
        """The variables from which a child process reads these same settings. URLs may hold passwords."""
        values = self.model_dump(exclude_none=True)
        return {f"PLUMAGE_{name.upper()}": str(value) for name, value in values.items()}
