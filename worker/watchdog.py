"""When a worker process has to be killed, judged from its vitals. Pure: time is an argument."""

from enum import StrEnum

from jobs.schema import Claim, JobError
from jobs.settings import JobSettings
from worker.supervisor_pipe import Vital

TIMED_OUT = JobError(code="timeout", message="The job took longer than this service allows.")


class Overdue(StrEnum):
    TIMEOUT = "timeout"
    """The run outlasted the job timeout and did not stop between two steps."""
    SILENT = "silent"
    """The job stalled, or native code holds the whole process."""
    DELIVERY = "delivery"
    """The finished result could not be stored in all the time that it has."""
    DRAIN = "drain"
    """The worker did not end in time after a stop signal."""


class Watchdog:
    """All times in seconds on one monotonic clock."""

    def __init__(self, settings: JobSettings) -> None:
        self._settings = settings
        self._since = 0.0
        self._beat_at = 0.0
        self._delivering = False
        self.claim: Claim | None = None
        """The job in the worker's hands."""

    def hear(self, vital: Vital, now: float) -> None:
        self._beat_at = now
        match vital.event:
            case "busy":
                self.claim, self._since, self._delivering = vital.claim, now, False
            case "delivering":
                self._since, self._delivering = now, True
            case "idle":
                self.claim = None
            case "beat":
                pass

    def overdue(self, now: float) -> Overdue | None:
        """Why the worker should be dead by now."""
        if self.claim is None:
            return None
        settings = self._settings
        limit_s = settings.commit_patience_s if self._delivering else settings.job_timeout_s
        if now - self._since > limit_s + settings.kill_grace_s:
            return Overdue.DELIVERY if self._delivering else Overdue.TIMEOUT
        if now - self._beat_at > settings.lease_s + settings.kill_grace_s:
            return Overdue.SILENT
        return None
