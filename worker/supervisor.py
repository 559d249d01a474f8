"""Keeps one worker process running, and releases the job of one that died.

The supervisor starts the worker, reads its messages from a pipe, kills it when a job runs past its limit or hangs
(also in native code, where no exception reaches), releases the job of a dead worker at once and starts the next one.
A thread reaps leases and collects garbage. It imports no torch, so it is small and starts fast.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

import structlog

from jobs.errors import ObjectsUnavailable, StoreUnavailable
from jobs.garbage_collector import GarbageCollector
from jobs.lifeline import die_with_parent
from jobs.logs import configure_logs
from jobs.objects import ObjectStore
from jobs.schema import Claim, WorkerReport, WorkerState
from jobs.settings import JobSettings
from jobs.stores.connection import connect_redis
from jobs.stores.redis_stores import RedisStores
from worker.identity import new_worker_id
from worker.supervisor_pipe import EX_CONFIG, EX_RETIRED, PipeReader
from worker.watchdog import TIMED_OUT, Overdue, Watchdog

WORKER_COMMAND = (sys.executable, "-m", "worker")
COLLECT_EVERY_S = 10.0
_POLL_EVERY_S = 0.1
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_HEALTHY_AFTER_S = 30.0

log = structlog.get_logger()


class Supervisor:
    """One worker slot. `run` returns after a stop signal, when the worker has ended."""

    def __init__(self, settings: JobSettings, *, command: Sequence[str] = WORKER_COMMAND) -> None:
        if settings.redis_url is None:
            raise ValueError("PLUMAGE_REDIS_URL is not set, and a worker starts no Redis of its own")
        self._settings = settings
        self._command = command
        self._stores = RedisStores.open(connect_redis(settings.redis_url), settings)
        self._worker_id = new_worker_id()
        self._stops = 0
        """Stop signals so far. The second one makes the worker hand its job back at once."""

    def run(self) -> int:
        """The exit status: 0, or EX_CONFIG when the checkpoint cannot be used."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        threading.Thread(target=self._run_upkeep, name="upkeep", daemon=True).start()
        pause_s = 0.0
        while not self._stopping():
            began = time.monotonic()
            status = self._run_worker()
            if self._stopping():
                break
            if status == EX_CONFIG:
                return status  # the worker has logged the reason; another one would find the same
            if status == EX_RETIRED:
                log.info("worker.replaced")
                self._report("a fresh process is starting")
                continue
            healthy = time.monotonic() - began > _HEALTHY_AFTER_S
            pause_s = _FIRST_PAUSE_S if healthy or not pause_s else min(2 * pause_s, _LONGEST_PAUSE_S)
            log.error("worker.died", status=status, restart_in_s=pause_s)
            self._report(f"restarting after exit status {status}")
            self._sleep(pause_s)
        log.info("supervisor.stopped")
        return 0

    def _run_worker(self) -> int:
        """Starts a worker, watches it to its end, and settles its job; returns its exit status."""
        read_end, write_end = os.pipe()
        arguments = ("--id", self._worker_id, "--pipe", str(write_end), "--parent", str(os.getpid()))
        process = subprocess.Popen(
            [*self._command, *arguments],
            env={**os.environ, **self._settings.environment()},
            pass_fds=(write_end,),
            stdin=subprocess.DEVNULL,
            stdout=2,  # a program may read a result from our stdout
            start_new_session=True,  # Ctrl-C reaches the worker through us only
        )
        os.close(write_end)
        log.info("worker.started", pid=process.pid, worker=self._worker_id)
        with PipeReader(read_end) as reader:
            watchdog = Watchdog(self._settings)
            reason = self._watch(process, reader, watchdog)
            status = process.wait()
            for message in reader.read(0.0):
                watchdog.receive(message, time.monotonic())
        if watchdog.claim is not None:
            self._settle(watchdog.claim, reason)
        return status

    def _watch(self, process: subprocess.Popen[bytes], reader: PipeReader, watchdog: Watchdog) -> Overdue | None:
        """Waits for the end of the process; returns why it had to be killed, None when it ended by itself."""
        forwarded = 0
        stop_deadline = float("inf")
        while process.poll() is None:
            for message in reader.read(_POLL_EVERY_S):
                watchdog.receive(message, time.monotonic())
            now = time.monotonic()
            if self._stops > forwarded:
                forwarded = self._stops
                patience_s = self._settings.drain_s if forwarded == 1 else 0.0
                stop_deadline = now + patience_s + self._settings.kill_grace_s
                process.terminate()
            reason = Overdue.DRAIN if now > stop_deadline else watchdog.overdue(now)
            if reason is not None:
                log.error("worker.killed", pid=process.pid, reason=reason.value)
                process.kill()
                return reason
        return None

    def _settle(self, claim: Claim, reason: Overdue | None) -> None:
        """Ends, hands back or releases the job of a dead worker, which need not wait for its lease to end."""
        log.warning("job.orphaned", job_id=claim.record.id, attempt=claim.attempt, reason=reason or "death")
        try:
            if reason is Overdue.TIMEOUT:
                self._stores.jobs.fail(claim, TIMED_OUT)
            elif reason is Overdue.DRAIN:
                self._stores.jobs.hand_back(claim)
            else:
                self._stores.jobs.release(claim)
        except StoreUnavailable:
            log.warning("job.unsettled", job_id=claim.record.id)

    def _report(self, detail: str) -> None:
        """Reports the next worker as starting: for now there is none that could run a job."""
        report = WorkerReport(worker_id=self._worker_id, state=WorkerState.STARTING, model=None, detail=detail)
        with suppress(StoreUnavailable):
            self._stores.jobs.report_worker(report)

    def _run_upkeep(self) -> None:
        collector = GarbageCollector(self._stores, ObjectStore.from_settings(self._settings))
        collect_at = 0.0
        while True:
            try:
                report = self._stores.jobs.reap()
                if any(report.model_dump().values()):
                    log.info("jobs.reaped", **report.model_dump())
                if time.monotonic() >= collect_at:
                    collect_at = time.monotonic() + COLLECT_EVERY_S
                    collector.collect()
            except (StoreUnavailable, ObjectsUnavailable) as error:
                log.warning("upkeep.waiting", reason=error.code)
            except Exception:
                log.exception("upkeep.failed")
            time.sleep(self._settings.reap_every_s)

    def _on_stop(self, signum: int, frame: FrameType | None) -> None:
        self._stops += 1

    def _stopping(self) -> bool:
        return self._stops > 0

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._stopping() and time.monotonic() < deadline:
            time.sleep(_POLL_EVERY_S)


def main(settings: JobSettings | None = None, *, command: Sequence[str] = WORKER_COMMAND) -> int:
    """Runs one supervised worker until SIGTERM or SIGINT. Settings come from the environment when not given.

    Raises ValueError without a Redis URL or with a URL of no known object store.
    """
    configure_logs()
    return Supervisor(settings or JobSettings(), command=command).run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m worker.supervisor")
    parser.add_argument("--parent", type=int, help="process id with which this one ends")
    parent = parser.parse_args().parent
    if parent is not None:
        die_with_parent(parent)
    sys.exit(main())
