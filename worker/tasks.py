"""How a job becomes a call: claim, inputs, transfer, result objects, commit.

The result's objects are stored before the record names them, under a key that contains the attempt number, and the
commit is refused when another attempt owns the job by then. A finished result outlives an absence of Redis or of
the object store: storing it is tried again, computing it is not. Only here exceptions become `JobError`.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import structlog
from PIL import Image

from core.errors import CoreError
from core.images.canvas import to_pil
from core.models.vae import small_footprint
from core.pipeline import TransferInputs, TransferResult
from jobs.errors import JobsError, ObjectNotFound, ObjectsUnavailable, StoreUnavailable
from jobs.objects import output_prefixes
from jobs.schema import Claim, JobError, JobKind, WorkerState
from worker.content_check import ContentRefused, require_accepted
from worker.context import WorkerContext
from worker.device import end_process, free_memory, is_lost, is_out_of_memory
from worker.lease import LeaseKeeper
from worker.pictures import decode_inputs
from worker.progress import ProgressWriter, StepCallback, Stopped, StopReason
from worker.result_writer import Results, ResultWriter, StoredResults
from worker.retries import StoreRetries
from worker.sequential_fallback import transfer_sequentially
from worker.supervisor_pipe import EX_DEVICE
from worker.watchdog import TIMED_OUT

T = TypeVar("T")
log = structlog.get_logger()


def run_next(context: WorkerContext) -> None:
    """Claims the next job of the queue, if any, and runs it to its end. Raises nothing that a job can cause."""
    if context.shutdown.requested:
        return
    try:
        claim = context.store.claim(context.worker_id)
    except StoreUnavailable:
        log.warning("job.unclaimed")
        return
    if claim is None:
        return
    with structlog.contextvars.bound_contextvars(job_id=claim.record.id, attempt=claim.attempt):
        log.info("job.claimed", tenant=claim.record.tenant)
        context.pipe.busy(claim)
        context.heartbeat.report(WorkerState.BUSY)
        settings = context.settings
        try:
            with LeaseKeeper(
                context.store, claim, context.pipe, lease_s=settings.lease_s, stall_s=settings.stall_s
            ) as lease:
                Attempt(context, claim, lease).run()
        except JobsError as error:
            # The lease runs out and another attempt follows.
            log.error("job.abandoned", reason=error.code, exc_info=True)
        finally:
            context.pipe.idle()
            _retire_if_due(context)
            context.heartbeat.report(WorkerState.STOPPING if context.shutdown.requested else WorkerState.READY)


def _retire_if_due(context: WorkerContext) -> None:
    context.recycling.count_job()
    if (reason := context.recycling.reason) is not None:
        log.info("worker.retiring", reason=reason)
        context.shutdown.retire()


class Attempt:
    """One attempt at one job. The methods follow the order in which they run."""

    def __init__(self, context: WorkerContext, claim: Claim, lease: LeaseKeeper) -> None:
        self._context = context
        self._claim = claim
        self._lease = lease
        self._retries = StoreRetries(lease, context.settings.commit_patience_s)
        self._began = time.perf_counter()
        self._timings: dict[str, float] = {}

    def run(self) -> None:
        """From the inputs to the commit. Raises StoreUnavailable when the outcome could not be written in time."""
        try:
            inputs, results = self._compute()
            self._context.pipe.storing()
            committed = self._commit(self._store_results(inputs, results), results[0].timings)
        except Stopped as stop:
            self._end_stopped(stop.reason)
        except ContentRefused as refusal:
            log.info("job.content_refused", role=refusal.role)
            self._fail(public_error(refusal))
        except StoreUnavailable:
            raise
        except Exception as error:
            if is_lost(error):
                self._leave_lost_device()
            log.exception("job.error")
            self._fail(public_error(error))
        else:
            log.info("job.finished", status="succeeded" if committed else "refused")

    def _compute(self) -> tuple[TransferInputs, Results]:
        """Inputs, and the results that are made from them, while progress is written. Raises Stopped."""
        context = self._context
        previews = context.content_check is None  # what has not been checked is not shown
        with ProgressWriter(context.store, context.objects, self._claim, self._lease, previews=previews) as writer:
            timeout_s = context.settings.job_timeout_s
            on_step = StepCallback(self._lease, context.shutdown, writer, timeout_s=timeout_s)
            with self._phase("inputs"):
                inputs = self._load_inputs()
            on_step.check()
            with self._phase(self._claim.record.spec.kind, recorded=False):
                return inputs, self._run_pipeline(inputs, on_step)

    def _load_inputs(self) -> TransferInputs:
        spec = self._claim.record.spec

        def read(key: str) -> bytes:
            return self._retries(lambda: self._context.objects.get(key))

        parts = {part: read(key) for part, key in spec.inputs.parts.items()}
        return decode_inputs(parts, spec.prompt, spec.negative_prompt, self._check_content)

    def _check_content(self, image: Image.Image, role: str) -> None:
        """Raises ContentRefused, and what the operator's check raises."""
        self._lease.mark()
        require_accepted(self._context.content_check, image, role)

    def _run_pipeline(self, inputs: TransferInputs, on_step: StepCallback) -> Results:
        """The verb of `core.pipeline` that this kind of job asks for."""
        context, spec = self._context, self._claim.record.spec
        if spec.kind is JobKind.MATCHES:
            match = partial(context.match, seed=spec.seed)
            return [self._in_device_memory(match, match, inputs)]
        at_once = partial(context.transfer, seeds=spec.seeds, on_step=on_step)
        in_turn = partial(transfer_sequentially, context.transfer, seeds=spec.seeds, on_step=on_step)
        return self._in_device_memory(at_once, in_turn, inputs)

    def _in_device_memory(self, compute: Callable[..., T], smaller: Callable[..., T], inputs: TransferInputs) -> T:
        """`compute` of the job; `smaller` with a small footprint when the device's memory was too small for that."""
        context = self._context
        models, params = context.loaded.models, self._claim.record.spec.params
        try:
            return compute(models, inputs, params)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            log.warning("job.out_of_memory", reason=str(error))
        # After the handler, because the exception's traceback refers to the tensors of the run.
        self._lease.mark()
        free_memory()
        try:
            with small_footprint(models):
                return smaller(models, inputs, params)
        except RuntimeError as error:
            if is_out_of_memory(error):
                context.recycling.count_out_of_memory()
            raise

    def _store_results(self, inputs: TransferInputs, results: Results) -> StoredResults:
        with self._phase("outputs"):
            if self._context.content_check is not None:
                for result in results:  # all of them before any is stored
                    if isinstance(result, TransferResult):
                        self._check_content(to_pil(result.image), "result")
            writer = ResultWriter(self._claim, self._context.objects, self._retries)
            return writer.write(inputs, results, mark=self._context.settings.mark_results)

    def _commit(self, stored: StoredResults, pipeline_timings: Mapping[str, float]) -> bool:
        """Ends the job as succeeded; false, and the objects are removed, if another attempt or a cancel came first."""
        store = self._context.store
        result = stored.as_result(self._context.model_identity, self._times(pipeline_timings))
        if self._retries(lambda: store.commit(self._claim, result)):
            return True
        self._remove_results()
        store.finish_canceled(self._claim)
        return False

    def _times(self, pipeline_timings: Mapping[str, float]) -> dict[str, float]:
        """Milliseconds by phase, and `queue` and `total`."""
        record = self._claim.record
        assert record.started_at is not None
        waited_ms = (record.started_at - record.created_at).total_seconds() * 1000
        ran_ms = (time.perf_counter() - self._began) * 1000
        return {**self._timings, **pipeline_timings, "queue": waited_ms, "total": waited_ms + ran_ms}

    def _remove_results(self) -> None:
        record, attempt = self._claim.record, self._claim.attempt
        results, _ = output_prefixes(record.tenant, record.id)
        try:
            self._context.objects.delete_prefix(f"{results}{attempt}/")
        except ObjectsUnavailable:
            log.warning("job.outputs_left")  # the garbage collector removes them

    def _end_stopped(self, reason: StopReason) -> None:
        """Writes the end of a run that was stopped between two steps."""
        store, claim = self._context.store, self._claim
        log.info("job.stopped", reason=reason.value)
        self._retries.restart()
        match reason:
            case StopReason.CANCELED:
                self._retries(lambda: store.finish_canceled(claim))
            case StopReason.TIMEOUT:
                self._fail(TIMED_OUT)
            case StopReason.DRAINING:
                self._retries(lambda: store.hand_back(claim))
            case StopReason.LEASE_LOST:
                pass

    def _fail(self, error: JobError) -> None:
        self._retries.restart()
        self._retries(lambda: self._context.store.fail(self._claim, error))
        log.info("job.finished", status="failed", code=error.code)

    def _leave_lost_device(self) -> None:
        """Ends the process. The supervisor frees the job, which counts as one of its attempts."""
        log.exception("device.lost")
        self._context.heartbeat.report(WorkerState.STARTING, "the device failed; a fresh process is starting")
        end_process(EX_DEVICE)

    @contextmanager
    def _phase(self, name: str, *, recorded: bool = True) -> Iterator[None]:
        """Measures and logs one phase, with the whole patience for stores that are away."""
        self._lease.mark()
        self._retries.restart()
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
        case CoreError() | JobsError() | ContentRefused():
            return JobError(code=error.code, message=str(error))
        case _ if is_out_of_memory(error):
            return JobError(code="out_of_memory", message="The picture needs more memory than this device has.")
        case _:
            return JobError(code="internal", message="The transfer failed. The operator's log tells why.")
