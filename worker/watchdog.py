"""When the supervisor has to kill a worker process, judged from the messages of its pipe. Pure: time is an argument."""

from enum import StrEnum

from jobs.schema import Claim, JobError
from jobs.settings import JobSettings
from worker.supervisor_pipe import PipeMessage

TIMED_OUT = JobError(code="timeout", message="The job took longer than this service allows.")


class Overdue(StrEnum):
    TIMEOUT = "timeout"
    """The run outlasted the job timeout and did not stop between two steps."""
    SILENT = "silent"
    """The job stalls, or native code blocks the whole process."""
    STORING = "storing"
    """The finished result could not be stored in the time for it."""
    DRAIN = "drain"
    """The worker did not end in time after a stop signal."""


class Watchdog:
    """Follows one worker process. All times in seconds on one monotonic clock."""

    def __init__(self, settings: JobSettings) -> None:
        self._settings = settings
        self._since = 0.0
        self._beat_at = 0.0
        self._storing = False
        self.claim: Claim | None = None
        """The job that the worker runs now."""

    def receive(self, message: PipeMessage, now: float) -> None:
        """Takes the next message into account, received at `now`."""
        self._beat_at = now
        match message.event:
            case "busy":
                self.claim, self._since, self._storing = message.claim, now, False
            case "storing":
                self._since, self._storing = now, True
            case "idle":
                self.claim = None
            case "beat":
                pass

    def overdue(self, now: float) -> Overdue | None:
        """Why the worker has to be killed at `now`; None: it need not be."""
        if self.claim is None:
            return None
        settings = self._settings
        limit_s = settings.commit_patience_s if self._storing else settings.job_timeout_s
        if now - self._since > limit_s + settings.kill_grace_s:
            return Overdue.STORING if self._storing else Overdue.TIMEOUT
        if now - self._beat_at > settings.lease_s + settings.kill_grace_s:
            return Overdue.SILENT
        return None
