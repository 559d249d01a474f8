"""How a job becomes a call, in this process: real Redis, real objects, real (tiny) networks."""

import hashlib
import io
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from redis import Redis

from checkpoints.load import LoadedModels
from core.pipeline import TransferInputs, TransferResult, transfer_variants
from jobs.objects import ObjectStore
from jobs.schema import JobKind, JobSpec, Output, Record, Status, WorkerState
from jobs.settings import JobSettings
from jobs.stores.connection import connect_redis
from jobs.stores.job_store import JobStore, new_job_id
from tests.matches import trusted_matches
from tests.pictures import decoded, encoded, gradient
from tests.specs import make_spec, put_inputs
from tests.tiny import tiny_models
from worker.context import WorkerContext
from worker.heartbeat import Heartbeat
from worker.recycling import RecyclingPolicy
from worker.sequential_fallback import Transfer, transfer_sequentially
from worker.shutdown import Shutdown
from worker.supervisor_pipe import SupervisorPipe
from worker.tasks import public_error, run_next


@pytest.fixture(scope="module")
def loaded() -> LoadedModels:
    return LoadedModels(tiny_models(), id="tiny", revision="1", device="cpu", dtype="float32")


@pytest.fixture
def context(store: JobStore, objects: ObjectStore, job_settings: JobSettings, loaded: LoadedModels) -> WorkerContext:
    return WorkerContext(
        worker_id="w1",
        settings=job_settings.model_copy(update={"commit_patience_s": 0.5}),
        store=store,
        objects=objects,
        loaded=loaded,
        transfer=transfer_variants,
        shutdown=Shutdown(10.0),
        pipe=SupervisorPipe(),
        heartbeat=Heartbeat(store, "w1", every_s=1.0),
        recycling=RecyclingPolicy(1000, 4096),
    )


def sleepless(**hooks: Callable[[], object]) -> Transfer:
    """A sampler of two steps that calls `before`, and `after` its last step."""

    def run(
        models: Any, inputs: TransferInputs, params: Any, *, seeds: Sequence[int], on_step: Any
    ) -> list[TransferResult]:
        hooks.get("before", int)()
        for step in (1, 2):
            on_step(step, 2, lambda: torch.zeros(4, 4, 3, dtype=torch.uint8))
        hooks.get("after", int)()
        matches = trusted_matches(torch.zeros(1, 1, 2))
        image = inputs.target.permute(1, 2, 0)
        return [TransferResult(image, seed, {}, matches) for seed in seeds]

    return run


def submit(context: WorkerContext, spec: JobSpec | None = None) -> str:
    job_id = new_job_id()
    spec = spec or make_spec(job_id=job_id)
    put_inputs(context.objects, spec)
    context.store.submit(spec, job_id=job_id)
    return job_id


def get(context: WorkerContext, job_id: str) -> Record:
    return context.store.get(job_id, tenant="local")


def results(context: WorkerContext, job_id: str) -> list[str]:
    return context.objects.keys(f"results/local/{job_id}/")


def test_a_picture_goes_all_the_way_through_the_networks(context: WorkerContext) -> None:
    job_id = submit(context)
    run_next(context)
    record = get(context, job_id)
    assert record.error is None
    assert record.result is not None
    assert record.result.image is not None
    image = decoded(context.objects.get(record.result.image.key))
    assert (image.mode, image.size) == ("RGB", gradient().size)
    assert (record.result.width, record.result.height, record.result.seed) == (*image.size, record.spec.seed)
    assert record.result.model == context.model_identity
    with np.load(io.BytesIO(context.objects.get(record.result.matches.key))) as matches:
        rows, columns = matches["similarity"].shape
        assert matches["positions"].shape == (rows, columns, 2)
        assert matches["inside"].all()
    assert {"queue", "total", "inputs", "outputs", "sample"} <= record.result.timings.keys()
    preview = Image.open(io.BytesIO(context.objects.get(record.preview_key or "")))
    assert preview.format == "JPEG"


def test_alpha_and_masks_reach_the_networks(context: WorkerContext) -> None:
    job_id = new_job_id()
    spec = make_spec(job_id=job_id)
    masked = spec.inputs.model_copy(update={"target_mask": f"inputs/local/{job_id}/target_mask.png"})
    spec = spec.model_copy(update={"inputs": masked})
    target = gradient("RGBA")
    mask = Image.new("L", target.size, 0)
    mask.paste(255, (0, 0, target.width // 2, target.height))
    context.objects.put(masked.target, encoded(target), "image/png")
    context.objects.put(masked.reference, encoded(gradient().rotate(180)), "image/png")
    context.objects.put(masked.target_mask or "", encoded(mask), "image/png")
    context.store.submit(spec, job_id=job_id)
    run_next(context)
    record = get(context, job_id)
    assert record.result is not None
    assert record.result.image is not None
    image = np.asarray(decoded(context.objects.get(record.result.image.key)))
    before = np.asarray(target)
    assert image.shape[2] == 4
    assert (image[:, target.width // 2 :] == before[:, target.width // 2 :]).all()
    assert (image[:, : target.width // 2] != before[:, : target.width // 2]).any()
    assert record.result.masks.keys() == {"target"}
    used = record.result.masks["target"]
    assert used.coverage == 0.5
    assert decoded(context.objects.get(used.key)).tobytes() == mask.tobytes()


@pytest.mark.parametrize(
    ("output", "kind", "mode"),
    [
        (Output(), "PNG", "RGBA"),
        (Output(format="webp", quality=100), "WEBP", "RGBA"),
        (Output(format="webp", background="#ff0000"), "WEBP", "RGB"),
        (Output(format="jpeg", quality=95, background="#ff0000"), "JPEG", "RGB"),
    ],
)
def test_the_picture_is_written_as_asked_for(context: WorkerContext, output: Output, kind: str, mode: str) -> None:
    job_id = new_job_id()
    spec = make_spec(job_id=job_id).model_copy(update={"output": output})
    target = gradient("RGBA")
    target.putalpha(Image.new("L", target.size, 0))
    context.objects.put(spec.inputs.target, encoded(target), "image/png")
    context.objects.put(spec.inputs.reference, encoded(gradient()), "image/png")
    context.store.submit(spec, job_id=job_id)
    run_next(replace(context, transfer=_copied))
    result = get(context, job_id).result
    assert result is not None
    assert result.image is not None
    data = context.objects.get(result.image.key)
    assert (len(data), hashlib.sha256(data).hexdigest()) == (result.image.bytes, result.image.sha256)
    image = Image.open(io.BytesIO(data))
    assert (image.format, image.mode, result.image.content_type) == (kind, mode, f"image/{kind.lower()}")
    if output.background:
        assert np.abs(np.asarray(image, int) - (255, 0, 0)).max() < 8


def _copied(
    models: Any, inputs: TransferInputs, params: Any, *, seeds: Sequence[int], on_step: Any
) -> list[TransferResult]:
    matches = trusted_matches(torch.zeros(1, 1, 2))
    return [TransferResult(inputs.target.permute(1, 2, 0), seed, {}, matches) for seed in seeds]


def test_matches_alone_are_computed_without_sampling(context: WorkerContext) -> None:
    """The same map as the one that a transfer with this seed paints from."""
    job_id = new_job_id()
    spec = make_spec(job_id=job_id).model_copy(update={"kind": JobKind.MATCHES})
    put_inputs(context.objects, spec)
    context.store.submit(spec, job_id=job_id)
    run_next(replace(context, transfer=sleepless(before=lambda: pytest.fail("it was sampled"))))
    record = get(context, job_id)
    assert record.error is None
    assert record.result is not None
    assert record.result.image is None
    assert {"prepare", "encode", "correspond", "queue", "total"} <= record.result.timings.keys()
    assert "sample" not in record.result.timings
    painted = submit(context)
    run_next(context)
    other = get(context, painted).result
    assert other is not None
    with (
        np.load(io.BytesIO(context.objects.get(record.result.matches.key))) as alone,
        np.load(io.BytesIO(context.objects.get(other.matches.key))) as with_picture,
    ):
        assert (alone["positions"] == with_picture["positions"]).all()
    drawn = Image.open(io.BytesIO(context.objects.get(record.result.matches_picture.key)))
    width, height = gradient().size
    assert (drawn.format, drawn.mode) == ("PNG", "RGB")
    assert drawn.width / drawn.height == pytest.approx(2 * width / height, rel=0.05)
    assert len(drawn.getcolors(maxcolors=1 << 20) or ()) > 50


def test_an_empty_mask_is_a_typed_failure(context: WorkerContext) -> None:
    job_id = new_job_id()
    spec = make_spec(job_id=job_id)
    masked = spec.inputs.model_copy(update={"target_mask": f"inputs/local/{job_id}/target_mask.png"})
    spec = spec.model_copy(update={"inputs": masked})
    context.objects.put(masked.target_mask or "", encoded(Image.new("L", gradient().size, 0)), "image/png")
    put_inputs(context.objects, spec)
    context.store.submit(spec, job_id=job_id)
    run_next(context)
    record = get(context, job_id)
    assert record.error is not None
    assert (record.status, record.error.code) == (Status.FAILED, "empty_mask")
    assert results(context, job_id) == []


def test_a_missing_input_is_a_typed_failure(context: WorkerContext) -> None:
    job_id = submit(context)
    context.objects.delete(get(context, job_id).spec.inputs.reference)
    run_next(context)
    record = get(context, job_id)
    assert record.error is not None
    assert record.error.code == "input_missing"


def test_no_status_before_its_objects(context: WorkerContext, objects: ObjectStore, job_settings: JobSettings) -> None:
    """While the store cannot take the result the job runs on; then it succeeds, and was computed once."""
    runs: list[int] = []
    patient = replace(
        context,
        settings=job_settings.model_copy(update={"commit_patience_s": 30.0}),
        transfer=sleepless(before=lambda: runs.append(1)),
    )
    job_id = submit(patient)
    obstacle = job_settings.data_dir / "objects" / "results"
    obstacle.write_bytes(b"a file where a folder is needed")
    worker = threading.Thread(target=run_next, args=(patient,))
    worker.start()
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        assert not get(context, job_id).status.terminal
        time.sleep(0.02)
    obstacle.unlink()
    worker.join(20)
    record = get(context, job_id)
    assert record.status is Status.SUCCEEDED
    assert record.result is not None
    assert len(record.result.files) == 3
    assert all(objects.exists(file.key) for file in record.result.files)
    assert runs == [1]


def test_a_store_that_stays_away_fails_the_job(context: WorkerContext, job_settings: JobSettings) -> None:
    job_id = submit(context)
    (job_settings.data_dir / "objects" / "results").write_bytes(b"a file where a folder is needed")
    run_next(replace(context, transfer=sleepless()))
    record = get(context, job_id)
    assert record.error is not None
    assert (record.status, record.error.code) == (Status.FAILED, "objects_unavailable")


def test_a_lost_job_is_neither_finished_nor_littered(context: WorkerContext, redis: Redis) -> None:
    def lose() -> None:
        redis.zadd("plumage:leases", {job_id: 0})
        redis.delete("plumage:reaper")
        assert context.store.reap().requeued == 1
        assert context.store.claim("w2") is not None

    job_id = submit(context)
    run_next(replace(context, transfer=sleepless(after=lose)))
    record = get(context, job_id)
    assert (record.status, record.attempt) == (Status.RUNNING, 2)
    assert results(context, job_id) == []


def test_a_cancel_after_the_last_step_still_counts(context: WorkerContext) -> None:
    job_id = submit(context)
    cancel = sleepless(after=lambda: context.store.request_cancel(job_id, tenant="local"))
    run_next(replace(context, transfer=cancel))
    assert get(context, job_id).status is Status.CANCELED
    assert results(context, job_id) == []


def test_a_draining_worker_takes_no_job(context: WorkerContext) -> None:
    job_id = submit(context)
    context.shutdown.request()
    run_next(context)
    assert get(context, job_id).status is Status.QUEUED


def test_a_second_stop_hands_the_job_back_at_once(context: WorkerContext) -> None:
    def stop_twice() -> None:
        context.shutdown.request()
        context.shutdown.request()

    job_id = submit(context)
    run_next(replace(context, transfer=sleepless(before=stop_twice)))
    record = get(context, job_id)
    assert (record.status, record.attempt) == (Status.QUEUED, 1)


def test_a_ticket_without_a_job_and_one_without_redis(
    context: WorkerContext, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run_next(context)
    nowhere = tmp_path_factory.mktemp("nowhere") / "redis.sock"
    run_next(replace(context, store=JobStore(connect_redis(f"unix://{nowhere}"), context.settings)))


def test_the_heartbeat_follows_the_job(context: WorkerContext, store: JobStore) -> None:
    seen: list[WorkerState] = []

    def look() -> None:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and (not seen or seen[-1] is not WorkerState.BUSY):
            seen.extend(worker.state for worker in store.workers())
            time.sleep(0.01)

    with context.heartbeat:
        context.heartbeat.report_ready(context.model_identity, ())
        submit(context)
        run_next(replace(context, transfer=sleepless(before=look)))
    assert seen[-1] is WorkerState.BUSY
    (after,) = store.workers()
    assert (after.state, after.model) == (WorkerState.READY, context.model_identity)


def test_running_out_of_memory_has_its_own_code() -> None:
    assert public_error(torch.OutOfMemoryError("CUDA: 0x7f…")).code == "out_of_memory"
    assert "0x7f" not in public_error(torch.OutOfMemoryError("CUDA: 0x7f…")).message
    assert public_error(ValueError("/secret")).model_dump() == {
        "code": "internal",
        "message": "The transfer failed. The operator's log tells why.",
    }


def hungry(times: int, networks: list[Any]) -> Transfer:
    """A sampler that runs out of memory so often, and records how the VAE decodes."""
    left = [times]

    def run(models: Any, *arguments: Any, **named: Any) -> list[TransferResult]:
        networks.append(models.vae.use_tiling)
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")
        return transfer_variants(models, *arguments, **named)

    return run


def test_a_run_that_was_out_of_memory_is_repeated_in_less(context: WorkerContext) -> None:
    tiled: list[bool] = []
    context = replace(context, transfer=hungry(1, tiled))
    job_id = submit(context)
    run_next(context)
    assert get(context, job_id).status is Status.SUCCEEDED
    assert tiled == [False, True]
    assert not context.loaded.models.vae.use_tiling
    assert not context.shutdown.requested


def test_out_of_memory_again_and_again_retires_the_process(context: WorkerContext) -> None:
    context = replace(context, transfer=hungry(4, []))
    for retired in (False, True):
        job_id = submit(context)
        run_next(context)
        error = get(context, job_id).error
        assert error is not None
        assert error.code == "out_of_memory"
        assert context.shutdown.retired is retired
    waiting = submit(context)
    run_next(context)
    assert get(context, waiting).status is Status.QUEUED


def test_several_seeds_are_one_run_and_a_picture_each(context: WorkerContext) -> None:
    job_id = new_job_id()
    spec = make_spec(job_id=job_id)
    submit_as(context, job_id, spec.model_copy(update={"more_seeds": (3, 9)}))
    calls: list[Sequence[int]] = []

    def counted(*given: Any, seeds: Sequence[int], **named: Any) -> list[TransferResult]:
        calls.append(seeds)
        return transfer_variants(*given, seeds=seeds, **named)

    run_next(replace(context, transfer=counted))
    result = get(context, job_id).result
    assert result is not None
    assert calls == [(7, 3, 9)]
    assert [variant.seed for variant in result.variants] == [7, 3, 9]
    assert len({file.key for file in result.files}) == len(result.files) == 9
    assert sorted(file.key for file in result.files) == results(context, job_id)
    images = [context.objects.get(variant.image.key) for variant in result.variants]
    assert [hashlib.sha256(image).hexdigest() for image in images] == [one.image.sha256 for one in result.variants]
    assert len(set(images)) == 3
    alone_id = new_job_id()
    submit_as(context, alone_id, make_spec(job_id=alone_id).model_copy(update={"seed": 9}))
    run_next(context)
    alone = get(context, alone_id).result
    assert alone is not None
    assert alone.image is not None
    apart = np.asarray(decoded(images[2]), int) - np.asarray(decoded(context.objects.get(alone.image.key)), int)
    assert np.abs(apart).max() <= 2, "up to the rounding of a larger batch"


def test_a_lost_job_leaves_no_picture_of_any_seed(context: WorkerContext) -> None:
    job_id = new_job_id()
    submit_as(context, job_id, make_spec(job_id=job_id).model_copy(update={"more_seeds": (3, 9)}))
    cancel = sleepless(after=lambda: context.store.request_cancel(job_id, tenant="local"))
    run_next(replace(context, transfer=cancel))
    assert get(context, job_id).status is Status.CANCELED
    assert results(context, job_id) == []


def test_several_seeds_that_need_too_much_memory_at_once_are_run_one_by_one(context: WorkerContext) -> None:
    job_id = new_job_id()
    submit_as(context, job_id, make_spec(job_id=job_id).model_copy(update={"more_seeds": (3,)}))
    tiled: list[bool] = []
    run_next(replace(context, transfer=hungry(1, tiled)))
    record = get(context, job_id)
    assert record.result is not None
    assert tiled == [False, True, True]
    assert [variant.seed for variant in record.result.variants] == [7, 3]
    assert record.progress.step == record.progress.steps > 0


def test_one_seed_at_a_time_counts_all_steps_and_times() -> None:
    def run(*_: Any, seeds: Sequence[int], on_step: Any, **__: Any) -> list[TransferResult]:
        for step in (1, 2):
            on_step(step, 2, lambda: torch.zeros(1))
        matches = trusted_matches(torch.zeros(1, 1, 2))
        return [TransferResult(torch.zeros(1, 1, 3, dtype=torch.uint8), seeds[0], {"sample": 5.0}, matches)]

    seen: list[tuple[int, int]] = []
    found = transfer_sequentially(run, seeds=[4, 5], on_step=lambda step, steps, preview: seen.append((step, steps)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [(result.seed, result.timings) for result in found] == [(4, {"sample": 10.0}), (5, {"sample": 10.0})]


def submit_as(context: WorkerContext, job_id: str, spec: JobSpec) -> None:
    put_inputs(context.objects, spec)
    context.store.submit(spec, job_id=job_id)
