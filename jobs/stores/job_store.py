"""The job store: the only writer of job records.

    submit -> claim -> renew, report_progress -> commit | fail | finish_canceled
                 ^                                |
                 └───── hand_back, or release/an expired lease and reap

Every transition is one Lua script that compares status and attempt and then writes, so two processes
never both succeed and a worker that lost its job can change nothing. The attempt number is the fencing
token. All clocks are Redis TIME. Decisions worth knowing:

- Tenants take turns, least recently served first; `priority` orders the jobs of one tenant only.
- A cancel that arrives before the commit wins; a committed result stays.
- A job that is handed back or whose worker died waits at its old place, under the next attempt number.
"""

import re
import secrets
import time
from base64 import b32hexencode

from redis import Redis

from jobs.errors import IdempotencyKeyInUse, InvalidTransition, JobGone, JobNotFound
from jobs.schema import (
    Claim,
    JobError,
    JobKind,
    JobResult,
    JobSpec,
    Lease,
    Page,
    ReapReport,
    Record,
    Status,
    WorkerReport,
    check_name,
)
from jobs.settings import JobSettings
from jobs.stores.idempotency import IdempotencyKey, queue_full
from jobs.stores.records import read_record
from jobs.stores.scripts import Scripts
from jobs.stores.ticket_queue import TicketQueue

PAGE_LIMIT = 1000
LOOKED_AT_MOST = 2000
_WORKER_LOST = JobError(code="worker_lost", message="The worker died or stalled on every attempt at this job.")


def new_job_id() -> str:
    """36 URL-safe characters: milliseconds since 1970, so that ids sort by age, and 128 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    raw = milliseconds.to_bytes(6, "big") + secrets.token_bytes(16)
    return b32hexencode(raw).decode().rstrip("=").lower()


class JobStore:
    """Every method raises StoreUnavailable when Redis cannot serve. Safe to share between threads."""

    def __init__(self, redis: Redis, settings: JobSettings) -> None:
        self._settings = settings
        self._scripts = Scripts(redis, settings.prefix)
        self._tickets = TicketQueue(redis, settings.prefix)
        self._claim_nonces: dict[str, str] = {}

    # --- the way of a job -----------------------------------------------------------------------------------

    def submit(
        self,
        spec: JobSpec,
        *,
        job_id: str,
        tenant: str = "local",
        key: IdempotencyKey | None = None,
    ) -> Record:
        """Queues a job and wakes a worker. Higher priority goes first, within the tenant.

        The same id again by the same tenant returns the job that is there, so a submission whose answer was
        lost can be repeated. `key` is the one that was reserved with the id.
        Raises QueueFull or TooManyJobs, InvalidTransition when the id belongs to another job, and IdempotencyKeyInUse
        when the reservation of the key ran out and another submission took it.
        """
        check_name("job id", job_id)
        check_name("tenant", tenant)
        settings = self._settings
        answer = self._scripts.call(
            "submit",
            *(job_id, tenant, spec.priority, spec.model_dump_json(), settings.max_queued),
            *(key.name if key else "", settings.idempotency_s),
            *(settings.max_active_per_tenant or 0, spec.deadline_s or 0, spec.ttl_s or 0, spec.kind),
        )
        assert isinstance(answer, list)
        match answer[0]:
            case b"full" | b"tenant full":
                raise queue_full(answer[0], settings.max_queued)
            case b"taken":
                raise InvalidTransition("This job id is in use.")
            case b"superseded":
                raise IdempotencyKeyInUse("Another submission took this key meanwhile.")
            case b"created":
                self._tickets.wake_workers()
        return read_record(answer[1])

    def claim(self, worker_id: str) -> Claim | None:
        """Takes the next job in line and a lease on it. None when nothing waits."""
        check_name("worker id", worker_id)
        # Kept until there is an answer: a claim that took effect although its answer was lost is then found again.
        nonce = self._claim_nonces.setdefault(worker_id, secrets.token_hex(8))
        snapshot = self._scripts.call("claim", worker_id, nonce, self._lease_ms(), *self._settings.retention_args)
        del self._claim_nonces[worker_id]
        if snapshot is None:
            return None
        assert isinstance(snapshot, list)
        record = read_record(snapshot)
        return Claim(record=record, attempt=record.attempt, worker_id=worker_id)

    def renew(self, claim: Claim) -> Lease:
        """Extends the lease by `lease_s` from now."""
        return _lease(self._scripts.call("renew", claim.record.id, claim.attempt, self._lease_ms()))

    def report_progress(self, claim: Claim, step: int, steps: int, preview_key: str | None = None) -> Lease:
        """Writes the progress if the claim is current, and leaves the lease's end where it is."""
        arguments = (claim.record.id, claim.attempt, 0, step, steps, preview_key or "")
        return _lease(self._scripts.call("renew", *arguments))

    def commit(self, claim: Claim, result: JobResult) -> bool:
        """Makes the job succeed, if this attempt still runs it and nobody has asked for a cancel.

        Call it only after the objects can be read. True also when the same commit took effect before.
        """
        return self._finish(claim, Status.SUCCEEDED, result.model_dump_json()) is Status.SUCCEEDED

    def fail(self, claim: Claim, error: JobError) -> bool:
        """Ends the job as failed, or canceled if that was asked for. False when the claim is not current."""
        status = self._finish(claim, Status.FAILED, error.model_dump_json())
        return status in (Status.FAILED, Status.CANCELED)

    def finish_canceled(self, claim: Claim) -> bool:
        """canceling -> canceled. False when the claim is not current or no cancel has been asked for."""
        return self._finish(claim, Status.CANCELED, "") is Status.CANCELED

    # --- back to the queue ----------------------------------------------------------------------------------

    def hand_back(self, claim: Claim) -> bool:
        """Puts an unfinished job back to its old place in the line, not counted against `max_attempts`."""
        answer = self._scripts.call("hand_back", claim.record.id, claim.attempt, *self._settings.retention_args)
        if answer != b"queued":
            return answer == b"canceled"
        self._tickets.wake_workers()
        return True

    def release(self, claim: Claim) -> bool:
        """Ends the lease now, on behalf of a worker that is dead: the next round of the reaper takes the job."""
        return self._scripts.call("release", claim.record.id, claim.attempt) is not None

    def reap(self) -> ReapReport:
        """Takes jobs from dead workers, expires late ones, replaces lost tickets. One process at a time works."""
        pause_ms = int(self._settings.reap_every_s * 500)
        answer = self._scripts.call(
            "reap",
            *(
                max(1, pause_ms),
                self._lease_ms(),
                self._settings.max_attempts,
                *self._settings.retention_args,
            ),
            *(_WORKER_LOST.model_dump_json(), self._tickets.key),
        )
        if answer is None:
            return ReapReport()
        assert isinstance(answer, list)
        requeued, failed, canceled, missing, expired = answer
        if missing:
            self._tickets.issue(missing)
        return ReapReport(requeued=requeued, failed=failed, canceled=canceled, tickets=missing, expired=expired)

    # --- what a client sees and asks for --------------------------------------------------------------------

    def get(self, job_id: str, *, tenant: str) -> Record:
        """Raises JobNotFound (also for another tenant's job) and JobGone."""
        return self._found(self._scripts.call("get", job_id, tenant))

    def list_jobs(
        self,
        *,
        tenant: str,
        kind: JobKind | None = None,
        limit: int = 50,
        cursor: str | None = None,
        status: Status | None = None,
    ) -> Page:
        """Newest first, `limit` 1 to 1000 at a time. `cursor` is the `next` of the page before.

        With a kind or a status a page may be short, even empty, and not be the last: of all jobs a bounded number is
        looked at.

        Raises ValueError for anything else.
        """
        if not 1 <= limit <= PAGE_LIMIT:
            raise ValueError(f"limit {limit} is outside 1 to {PAGE_LIMIT}")
        if cursor is not None and not re.fullmatch(r"[0-9]{1,15}", cursor):
            raise ValueError("not a cursor of this listing")
        highest = f"({cursor}" if cursor else "+inf"
        answer = self._scripts.call("list", tenant, highest, limit, status or "", LOOKED_AT_MOST, kind or "")
        assert isinstance(answer, list)
        last, snapshots = answer
        items = [read_record(snapshot) for snapshot in snapshots]
        return Page(items=items, next=last.decode() if last else None)

    def next_position(self, *, tenant: str, priority: int) -> int:
        """`queue_position` of a job that this tenant would submit now."""
        answer = self._scripts.call("place", tenant, priority)
        assert isinstance(answer, int)
        return answer

    def request_cancel(self, job_id: str, *, tenant: str) -> Record:
        """Queued jobs are canceled at once, running ones become `canceling`; any other state stays as it is.

        Raises JobNotFound and JobGone.
        """
        return self._found(self._scripts.call("cancel", job_id, tenant, *self._settings.retention_args))

    def delete(self, job_id: str, *, tenant: str) -> None:
        """Forgets a job that waits or is over. Its objects are then the garbage collector's, or the caller's to
        delete and then to take from the cleanup queue.

        Raises InvalidTransition while a worker has the job, JobNotFound and JobGone.
        """
        answer = self._scripts.call("delete", job_id, tenant, *self._settings.retention_args)
        if answer not in (b"deleted", b"gone", None):
            raise InvalidTransition("A worker has this job; cancel it first.")
        if answer != b"deleted":
            self._found(answer)

    # --- workers --------------------------------------------------------------------------------------------

    def report_worker(self, report: WorkerReport) -> None:
        """Stores what a worker reports of itself. Forgotten after two lease times unless it reports again."""
        check_name("worker id", report.worker_id)
        self._scripts.call("announce", report.worker_id, report.model_dump_json(), 2 * self._lease_ms())

    def workers(self) -> list[WorkerReport]:
        """The last report of every worker that is alive."""
        answer = self._scripts.call("workers")
        assert isinstance(answer, list)
        return [WorkerReport.model_validate_json(report) for report in answer]

    # --- inside ---------------------------------------------------------------------------------------------

    def _finish(self, claim: Claim, outcome: Status, payload: str) -> Status | None:
        arguments = (claim.record.id, claim.attempt, outcome, *self._settings.retention_args, payload)
        answer = self._scripts.call("finish", *arguments)
        return Status(answer.decode()) if isinstance(answer, bytes) else None

    def _lease_ms(self) -> int:
        return int(self._settings.lease_s * 1000)

    @staticmethod
    def _found(answer: object) -> Record:
        if answer == b"gone":
            raise JobGone("This job is past its retention, or was deleted.")
        if answer is None:
            raise JobNotFound("There is no such job.")
        assert isinstance(answer, list)
        return read_record(answer)


def _lease(status: object) -> Lease:
    return Lease(held=status is not None, cancel_requested=status == b"canceling")
