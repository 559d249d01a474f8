"""The Python client against the running service."""

import asyncio
import hashlib
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from plumage_client import (
    AsyncPlumage,
    Gone,
    InvalidRequest,
    JobCanceled,
    JobFailed,
    NoConnection,
    NotFound,
    Plumage,
    Retries,
    ServerError,
    Status,
    TimedOut,
    Transfer,
    Unauthorized,
)

from tests.clients.flaky import AnsweringProxy, FlakyNetwork
from tests.live import Live

Pictures = tuple[Path, Path]
QUICK = Retries(first_s=0.01)
LONG = json.dumps({"steps": 600, "pause_s": 0.05})


def open_client(live: Live, tenant: str = "alice", http: httpx.Client | None = None) -> Plumage:
    return Plumage(live.url, key=live.key(tenant), retries=QUICK, http=http)


def behind(transport: httpx.BaseTransport) -> httpx.Client:
    return httpx.Client(transport=transport, timeout=20)


def test_a_transfer(live: Live, pictures: Pictures, tmp_path: Path) -> None:
    seen: list[Transfer] = []
    out = tmp_path / "out.png"
    with open_client(live) as plumage:
        done = plumage.run(*pictures, seed=7, metadata={"order": "12"}, out=out, on_change=seen.append)
    assert done.status is not None
    assert done.status == Status.SUCCEEDED
    assert done.result is not None
    assert hashlib.sha256(out.read_bytes()).hexdigest() == done.result.sha256
    assert (done.seed, done.metadata) == (7, {"order": "12"})
    assert seen[-1] == done
    assert [job.id for job in seen] == [done.id] * len(seen)


def test_a_transfer_with_await(live: Live, pictures: Pictures, tmp_path: Path) -> None:
    async def transfer() -> tuple[Transfer, list[Transfer]]:
        async with AsyncPlumage(live.url, key=live.key()) as plumage:
            done = await plumage.run(*pictures, out=tmp_path / "out.png")
            return done, [job async for job in plumage.transfers.follow(done.id)]

    done, seen = asyncio.run(transfer())
    assert seen == [done]
    assert done.result is not None
    assert hashlib.sha256((tmp_path / "out.png").read_bytes()).hexdigest() == done.result.sha256


def test_pictures_come_as_paths_bytes_and_files(live: Live, pictures: Pictures) -> None:
    target, reference = pictures
    with open_client(live) as plumage:
        jobs = [
            plumage.transfers.submit(str(target), reference, seed=1, wait=20),
            plumage.transfers.submit(target.read_bytes(), reference.read_bytes(), seed=1, wait=20),
            plumage.transfers.submit(io.BytesIO(target.read_bytes()), reference, target_mask=target, seed=1, wait=20),
        ]
    assert all(job.succeeded for job in jobs), jobs
    assert len({job.result.sha256 for job in jobs if job.result}) == 1


def test_managing(live: Live, pictures: Pictures) -> None:
    with open_client(live, "manager") as plumage:
        jobs = [plumage.transfers.submit(*pictures, wait=20) for _ in range(3)]
        assert [job.id for job in plumage.transfers.list()] == [job.id for job in reversed(jobs)]
        assert list(plumage.transfers.list(status="failed")) == []
        assert plumage.transfers.get(jobs[0].id) == jobs[0]
        plumage.transfers.delete(jobs[0].id)
        with pytest.raises(Gone) as gone:
            plumage.transfers.get(jobs[0].id)
        assert gone.value.code == "job_gone"
        with pytest.raises(NotFound):
            plumage.transfers.get("../../healthz/live")
    with open_client(live, "bob") as other, pytest.raises(NotFound):
        other.transfers.get(jobs[1].id)


def test_cancel_and_retry(live: Live, pictures: Pictures) -> None:
    with open_client(live) as plumage:
        job = plumage.transfers.submit(*pictures, prompt=LONG)
        with pytest.raises(TimedOut) as late:
            plumage.transfers.wait(job, timeout_s=0.5)
        assert late.value.job.id == job.id
        assert plumage.transfers.cancel(job.id).status in (Status.CANCELING, Status.CANCELED)
        with pytest.raises(JobCanceled):
            plumage.transfers.wait(job)
        again = plumage.transfers.retry(job.id)
        assert again.id != job.id
        plumage.transfers.cancel(again.id)


def test_a_job_that_fails(live: Live, pictures: Pictures) -> None:
    with open_client(live) as plumage, pytest.raises(JobFailed, match="failed") as failed:
        plumage.run(*pictures, prompt=json.dumps({"error": "asked for"}))
    assert failed.value.job.error is not None
    assert failed.value.job.error.code == "internal"


def test_refusals_name_the_field(live: Live, pictures: Pictures) -> None:
    with open_client(live) as plumage, pytest.raises(InvalidRequest) as refused:
        plumage.transfers.submit(*pictures, params={"num_stepz": 3})
    assert (refused.value.code, refused.value.status) == ("invalid_request", 422)
    assert [error.pointer for error in refused.value.errors] == ["/params/num_stepz"]
    assert refused.value.request_id
    with Plumage(live.url, key="plumage_wrong") as plumage, pytest.raises(Unauthorized) as unknown:
        list(plumage.transfers.list())
    assert unknown.value.code == "key_refused"


def test_a_lost_answer_makes_no_second_job(live: Live, pictures: Pictures) -> None:
    network = FlakyNetwork(losses=2)
    with open_client(live, "unlucky", behind(network)) as plumage:
        job = plumage.transfers.submit(*pictures)
        assert len(network.sent) == 3
        assert [found.id for found in plumage.transfers.list()] == [job.id]
    assert len({request.headers["Idempotency-Key"] for request in network.sent[:3]}) == 1


def test_the_service_says_when_to_come_back(live: Live) -> None:
    answers = [httpx.Response(503, headers={"Retry-After": "1"}), httpx.Response(429, headers={"Retry-After": "1"})]
    proxy = AnsweringProxy(lambda request: answers.pop() if answers else None)
    began = time.monotonic()
    with open_client(live, http=behind(proxy)) as plumage, pytest.raises(NotFound):
        plumage.transfers.get("unknown")
    assert time.monotonic() - began >= 2
    assert (len(proxy.answered), len(proxy.passed)) == (2, 1)


def test_there_is_an_end_to_patience(live: Live) -> None:
    proxy = AnsweringProxy(lambda request: httpx.Response(502, text="bad gateway"))
    with open_client(live, http=behind(proxy)) as plumage, pytest.raises(ServerError) as refused:
        plumage.transfers.get("unknown")
    assert (refused.value.status, refused.value.code, len(proxy.answered)) == (502, "http_error", 1 + QUICK.times)
    hours = AnsweringProxy(lambda request: httpx.Response(503, headers={"Retry-After": "7200"}))
    with open_client(live, http=behind(hours)) as plumage, pytest.raises(ServerError) as refused:
        plumage.transfers.get("unknown")
    assert (refused.value.retry_after, len(hours.answered)) == (7200, 1)
    with Plumage("http://127.0.0.1:9", retries=QUICK) as nobody, pytest.raises(NoConnection):
        nobody.transfers.get("unknown")


def test_polling_where_streams_do_not_get_through(live: Live, pictures: Pictures) -> None:
    def no_streams(request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(502) if request.url.path.endswith("/events") else None

    proxy = AnsweringProxy(no_streams)
    with open_client(live, http=behind(proxy)) as plumage:
        job = plumage.run(*pictures)
    assert job.succeeded
    assert len(proxy.answered) == 3
    assert f"GET /v1/transfers/{job.id}" in proxy.passed


def test_the_synchronous_half_is_made_from_the_other(tmp_path: Path) -> None:
    root = Path(__file__).parents[2] / "clients" / "python"
    subprocess.run([sys.executable, root / "generate_sync.py", tmp_path / "_sync"], check=True)
    made = {path.name: path.read_text() for path in (tmp_path / "_sync").glob("*.py")}
    kept = {path.name: path.read_text() for path in (root / "plumage_client" / "_sync").glob("*.py")}
    assert made == kept


def test_it_needs_httpx_and_pydantic_only() -> None:
    program = (
        "import sys; import plumage_client; "
        "print([name for name in ('torch', 'core', 'jobs', 'service', 'fastapi', 'redis') if name in sys.modules])"
    )
    root = Path(__file__).parents[2] / "clients" / "python"
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
