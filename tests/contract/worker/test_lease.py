"""The lease lives as long as the job moves, and no longer."""

import os
import time

import pytest
from redis import Redis

from jobs.schema import Claim, Status
from jobs.settings import JobSettings
from jobs.stores.job_store import JobStore, new_job_id
from tests.specs import make_spec
from worker.lease import LeaseKeeper
from worker.supervisor_pipe import PipeReader, SupervisorPipe

LEASE_S = 1.0


@pytest.fixture
def store(client: Redis, job_settings: JobSettings) -> JobStore:
    return JobStore(client, job_settings.model_copy(update={"lease_s": LEASE_S, "reap_every_s": 0.02}))


@pytest.fixture
def claim(store: JobStore) -> Claim:
    store.submit(make_spec(), job_id=new_job_id())
    claim = store.claim("w1")
    assert claim is not None
    return claim


def keep(store: JobStore, claim: Claim, pipe: SupervisorPipe | None = None, *, stall_s: float) -> LeaseKeeper:
    return LeaseKeeper(store, claim, pipe or SupervisorPipe(), lease_s=LEASE_S, stall_s=stall_s)


def reap_for(store: JobStore, seconds: float, lease: LeaseKeeper | None = None) -> int:
    """Jobs taken away meanwhile; `lease` is given progress marks."""
    taken = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if lease:
            lease.mark()
        taken += store.reap().requeued
        time.sleep(0.03)
    return taken


def test_a_job_that_moves_is_kept(store: JobStore, claim: Claim) -> None:
    with keep(store, claim, stall_s=0.3) as lease:
        assert reap_for(store, 3 * LEASE_S, lease) == 0
        assert not lease.lost


def test_a_job_that_stalls_is_given_up_although_the_process_lives(store: JobStore, claim: Claim) -> None:
    with keep(store, claim, stall_s=0.6) as lease:
        assert reap_for(store, 3 * LEASE_S) == 1
        assert store.get(claim.record.id, tenant="local").status is Status.QUEUED
        lease.mark()
        time.sleep(LEASE_S)
        assert lease.lost


def test_a_cancel_reaches_the_worker(store: JobStore, claim: Claim) -> None:
    with keep(store, claim, stall_s=60) as lease:
        store.request_cancel(claim.record.id, tenant="local")
        time.sleep(LEASE_S)
        assert lease.cancel_requested
        assert not lease.lost


def test_beats_stop_with_the_marks(store: JobStore, claim: Claim) -> None:
    read_end, write_end = os.pipe()
    with PipeReader(read_end) as reader:
        with keep(store, claim, SupervisorPipe(write_end), stall_s=0.3):
            time.sleep(0.1)
            assert {message.event for message in reader.read(0)} == {"beat"}
            time.sleep(0.3 + LEASE_S)
            reader.read(0)
            time.sleep(LEASE_S)
            assert reader.read(0) == []
        os.close(write_end)
