"""The worker as it is delivered: a checkpoint from disk, the real sampler, and `kill -9` in the middle."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.stack.embedded import start_redis
from core.params.transfer import TransferParams
from jobs.schema import Status, WorkerState
from jobs.stores.job_store import new_job_id
from tests.faults.stack import Stack, running_stack, until, worker_of
from tests.specs import make_spec, put_inputs
from tests.tiny import tiny_pipeline

PROGRAM = (
    "import sys; from jobs.lifeline import die_with_parent; die_with_parent(int(sys.argv[1]));"
    "from worker.supervisor import main; sys.exit(main())"
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    tiny_pipeline().save_pretrained(tmp_path / "tiny")
    monkeypatch.setenv("PLUMAGE_MODEL", str(tmp_path / "tiny"))
    monkeypatch.setenv("PLUMAGE_DEVICE", "cpu")
    with start_redis(tmp_path) as server, running_stack(server, tmp_path) as stack:
        yield stack


def test_a_killed_worker_is_replaced_and_the_picture_is_the_same(stack: Stack) -> None:
    supervisor = stack.start_worker(PROGRAM)
    (presence,) = stack.store.workers()
    assert presence.state is WorkerState.READY
    assert presence.model is not None
    assert (presence.model.id, presence.model.device) == ("tiny", "cpu")

    def submit() -> str:
        job_id = new_job_id()
        spec = make_spec(job_id=job_id).model_copy(update={"params": TransferParams(num_inference_steps=100)})
        put_inputs(stack.objects, spec)
        stack.store.submit(spec, job_id=job_id)
        return job_id

    undisturbed = stack.until_end(submit())
    disturbed = submit()
    stack.until_step(disturbed, 3)
    killed = worker_of(supervisor)
    os.kill(killed, signal.SIGKILL)
    until(lambda: stack.get(disturbed).status is Status.QUEUED, 10, "the job waits again")
    record = stack.until_end(disturbed, 180)
    assert worker_of(supervisor) != killed
    assert record.attempt == 2
    assert undisturbed.result is not None
    assert record.result is not None
    assert record.result.image is not None
    assert undisturbed.result.image is not None
    assert record.result.image.sha256 == undisturbed.result.image.sha256
    stack.collect()
    assert stack.objects.keys(f"results/local/{disturbed}/") == [file.key for file in record.result.files]
