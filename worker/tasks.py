"""How a job becomes a call: claim, inputs, transfer, result objects, commit.

The result's objects are stored before the record says so, under a key that holds the attempt number, and the
commit is refused when another attempt owns the job by then. A finished result outlives an absence of Redis or of
the object store: storing it is tried again, computing it is not. Only here exceptions become `JobError`.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import structlog

from core.errors import CoreError
from core.models.vae import small_footprint
from jobs.errors import JobsError, ObjectNotFound, ObjectsUnavailable, StoreUnavailable
from jobs.objects import output_prefixes
from jobs.schema import Claim, JobError, JobKind, WorkerState
from worker.context import Bench
from worker.delivery import Delivery, Results
from worker.device import end_process, free_memory, is_lost, is_out_of_memory
from worker.lease import LeaseKeeper
from worker.pictures import Pictures, decode_inputs
from worker.progress import Reason, Showcase, StepWatch, Stopped
from worker.sequential_fallback import one_by_one
from worker.supervisor_pipe import EX_DEVICE
from worker.watchdog import TIMED_OUT

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 1.0

T = TypeVar("T")
log = structlog.get_logger()


def run_next(bench: Bench) -> None:
    """Takes the next job in line, if there is one, and brings it to its end. Raises nothing that a job can cause."""
    if bench.drain.requested:
        return
    try:
        claim = bench.store.claim(bench.worker_id)
    except StoreUnavailable:
        log.warning("job.unclaimed")
        return
    if claim is None:
        return
    with structlog.contextvars.bound_contextvars(job_id=claim.record.id, attempt=claim.attempt):
        log.info("job.claimed", tenant=claim.record.tenant)
        bench.vitals.busy(claim)
        bench.presence.say(WorkerState.BUSY)
        settings = bench.settings
        lease = LeaseKeeper(bench.store, claim, bench.vitals, lease_s=settings.lease_s, stall_s=settings.stall_s)
        try:
            with lease:
                Run(bench, claim, lease).go()
        except JobsError as error:
            # The lease runs out and another attempt follows.
            log.error("job.abandoned", reason=error.code, exc_info=True)
        finally:
            bench.vitals.idle()
            _look_at(bench)
            bench.presence.say(WorkerState.STOPPING if bench.drain.requested else WorkerState.READY)


def _look_at(bench: Bench) -> None:
    """Retires a process that has served long enough."""
    bench.wear.job_over()
    if (reason := bench.wear.reason) is not None:
        log.info("worker.retiring", reason=reason)
        bench.drain.retire()


class Run:
    """One attempt at one job."""

    def __init__(self, bench: Bench, claim: Claim, lease: LeaseKeeper) -> None:
        self._bench = bench
        self._claim = claim
        self._lease = lease
        self._began = time.perf_counter()
        self._timings: dict[str, float] = {}
        self._be_patient()

    def go(self) -> None:
        """Raises StoreUnavailable when the outcome could not be written in time."""
        try:
            pictures, results = self._compute()
            self._bench.vitals.delivering()
            committed = self._deliver(pictures, results)
        except Stopped as stop:
            self._settle(stop.reason)
        except StoreUnavailable:
            raise
        except Exception as error:
            if is_lost(error):
                self._leave_behind()
            log.exception("job.error")
            self._fail(public_error(error))
        else:
            log.info("job.finished", status="succeeded" if committed else "refused")

    def _compute(self) -> tuple[Pictures, Results]:
        bench, spec = self._bench, self._claim.record.spec
        with Showcase(bench.store, bench.objects, self._claim, self._lease) as showcase:
            watch = StepWatch(self._lease, bench.drain, showcase, timeout_s=bench.settings.job_timeout_s)
            with self._phase("inputs"):
                pictures = self._load_pictures()
            watch.check()
            with self._phase(spec.kind, recorded=False):
                if spec.kind is JobKind.MATCHES:
                    match = partial(bench.match, seed=spec.seed)
                    return pictures, [self._run(match, match, pictures)]
                paint = partial(bench.transfer, seeds=spec.seeds, on_step=watch)
                smaller = partial(one_by_one, bench.transfer, seeds=spec.seeds, on_step=watch)
                return pictures, self._run(paint, smaller, pictures)

    def _run(self, compute: Callable[..., T], smaller: Callable[..., T], pictures: Pictures) -> T:
        """Once more and smaller when the device's memory did not do."""
        bench, spec = self._bench, self._claim.record.spec

        def run(compute: Callable[..., T]) -> T:
            return compute(
                bench.loaded.models,
                pictures.target,
                pictures.reference,
                spec.params,
                prompt=spec.prompt,
                negative_prompt=spec.negative_prompt,
                masks=pictures.masks,
                named=pictures.named,
                clock=time.perf_counter,
            )

        try:
            return run(compute)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            log.warning("job.out_of_memory", reason=str(error))
        # Behind the handler, because the exception's traceback holds the tensors of the run.
        self._lease.mark()
        free_memory()
        try:
            with small_footprint(bench.loaded.models):
                return run(smaller)
        except RuntimeError as error:
            if is_out_of_memory(error):
                bench.wear.out_of_memory()
            raise

    def _leave_behind(self) -> None:
        """The device is lost to this process. The supervisor frees the job, which counts as one of its attempts."""
        log.exception("device.lost")
        self._bench.presence.say(WorkerState.STARTING, "the device failed; a fresh process is starting")
        end_process(EX_DEVICE)

    def _load_pictures(self) -> Pictures:
        def read(key: str) -> bytes:
            return self._patiently(lambda: self._bench.objects.get(key))

        return decode_inputs({part: read(key) for part, key in self._claim.record.spec.inputs.parts.items()})

    def _deliver(self, pictures: Pictures, results: Results) -> bool:
        """Stores the results and commits them. False when the job is no longer ours to finish."""
        with self._phase("outputs"):
            stored = Delivery(self._claim, self._bench.objects, self._patiently).store(pictures, results)
        final = stored.as_result(self._bench.identity, self._times(results[0].timings))
        if self._patiently(lambda: self._bench.store.commit(self._claim, final)):
            return True
        self._remove_outputs()
        self._bench.store.finish_canceled(self._claim)
        return False

    def _times(self, of_core: Mapping[str, float]) -> dict[str, float]:
        """Milliseconds by phase, and `queue` and `total`."""
        record = self._claim.record
        assert record.started_at is not None
        waited_ms = (record.started_at - record.created_at).total_seconds() * 1000
        ran_ms = (time.perf_counter() - self._began) * 1000
        return {**self._timings, **of_core, "queue": waited_ms, "total": waited_ms + ran_ms}

    def _settle(self, reason: Reason) -> None:
        """Ends a run that was stopped between two steps."""
        store, claim = self._bench.store, self._claim
        log.info("job.stopped", reason=reason.value)
        self._be_patient()
        match reason:
            case Reason.CANCELED:
                self._patiently(lambda: store.finish_canceled(claim))
            case Reason.TIMEOUT:
                self._fail(TIMED_OUT)
            case Reason.DRAINING:
                self._patiently(lambda: store.hand_back(claim))
            case Reason.LEASE_LOST:
                pass

    def _fail(self, error: JobError) -> None:
        self._be_patient()
        self._patiently(lambda: self._bench.store.fail(self._claim, error))
        log.info("job.finished", status="failed", code=error.code)

    def _remove_outputs(self) -> None:
        record, attempt = self._claim.record, self._claim.attempt
        results, _ = output_prefixes(record.tenant, record.id)
        try:
            self._bench.objects.delete_prefix(f"{results}{attempt}/")
        except ObjectsUnavailable:
            log.warning("job.outputs_left")  # the collector finds them

    def _be_patient(self) -> None:
        self._patient_until = time.monotonic() + self._bench.settings.commit_patience_s

    def _patiently(self, act: Callable[[], T]) -> T:
        """Repeats `act` while a store is away, for `commit_patience_s` from the start of the phase.

        Each try counts as progress. A lost lease does not end it: it may be lost because the commit took effect and
        only its answer went missing. Raises what `act` raises at last.
        """
        pause_s = _FIRST_PAUSE_S
        while True:
            self._lease.mark()
            try:
                return act()
            except (StoreUnavailable, ObjectsUnavailable) as error:
                if time.monotonic() + pause_s > self._patient_until:
                    raise
                log.warning("job.waiting", reason=error.code)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    @contextmanager
    def _phase(self, name: str, *, recorded: bool = True) -> Iterator[None]:
        self._lease.mark()
        self._be_patient()
        began = time.perf_counter()
        yield
        elapsed_ms = (time.perf_counter() - began) * 1000
        if recorded:
            self._timings[name] = elapsed_ms
        log.info("job.phase", phase=name, ms=round(elapsed_ms, 1))


def public_error(error: Exception) -> JobError:
    """What users may know of an exception. The rest is in the log."""
    match error:
        case ObjectNotFound():
            return JobError(code="input_missing", message="An input picture is no longer stored.")
        case CoreError() | JobsError():
            return JobError(code=error.code, message=str(error))
        case _ if is_out_of_memory(error):
            return JobError(code="out_of_memory", message="The picture needs more memory than this device has.")
        case _:
            return JobError(code="internal", message="The transfer failed. The operator's log tells why.")
