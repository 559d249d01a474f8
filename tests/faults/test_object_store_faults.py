"""An object store on bad days: what can be waited out is waited out, the rest is one typed error in bounded time."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.request import Request, urlopen

import httpx
import pytest
from moto.server import ThreadedMotoServer

from cli.stack.embedded import start_redis
from jobs.errors import ObjectCorrupt, ObjectsUnavailable
from jobs.garbage_collector import GarbageCollector
from jobs.objects import ObjectStore, input_key
from jobs.settings import JobSettings
from service.main import STORE_PATIENCE_S
from service.settings import ServiceSettings
from tests.contract.http.conftest import TARGET, serving
from tests.contract.http.conftest import Stack as Api
from tests.faults.store_proxy import Fault, Weather, proxy_before

DATA = bytes(range(256)) * 2000
LONGEST_OVERRUN_S = 10.0
"""For a machine that does other work besides."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[tuple[str, int]]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with urlopen(Request(f"http://{host}:{port}/plumage", method="PUT")) as created:
        assert created.status == 200
    yield host, port
    server.stop()


@pytest.fixture
def weather(upstream: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Weather]:
    with proxy_before(upstream) as (url, weather):
        for name, value in {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        yield weather


def opened(within_s: float = 30.0) -> ObjectStore:
    return ObjectStore.from_settings(JobSettings(objects_url="s3://plumage/bucket", objects_timeout_s=within_s))


def key(name: str) -> str:
    return input_key("local", name, "target.png")


@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.LATE_ERROR, Fault.RESET])
def test_a_burst_is_waited_out_when_writing(weather: Weather, fault: Fault) -> None:
    store, name = opened(), key(fault.name)
    weather.set(fault, times=2)
    store.put(name, DATA, "image/png")
    weather.set(None)
    assert store.get(name) == DATA


@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.RESET, Fault.TRUNCATED, Fault.FLIPPED])
def test_a_burst_is_waited_out_when_reading(weather: Weather, fault: Fault) -> None:
    store, name = opened(), key(f"read-{fault.name}")
    store.put(name, DATA, "image/png")
    weather.set(fault, times=1)
    assert store.get(name) == DATA
    assert weather.requests >= 2


def test_a_slow_store_is_waited_for(weather: Weather) -> None:
    store = opened()
    weather.latency_s = 5.0
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: store.put(key(f"slow-{n}"), DATA, "image/png"), range(4)))
        assert list(pool.map(lambda n: store.get(key(f"slow-{n}")), range(4))) == [DATA] * 4


@pytest.mark.parametrize("fault", [Fault.BLACK_HOLE, Fault.ERROR])
def test_a_store_that_stays_away_is_one_error_by_the_deadline(weather: Weather, fault: Fault) -> None:
    store, name = opened(within_s=3.0), key(f"away-{fault.name}")
    store.put(key("there"), DATA, "image/png")
    weather.set(fault)
    for act in (
        lambda: store.put(name, DATA, "image/png"),
        lambda: store.get(key("there")),
        lambda: store.keys("inputs/local/"),
    ):
        began = time.monotonic()
        with pytest.raises(ObjectsUnavailable):
            act()
        elapsed_s = time.monotonic() - began
        sys.stderr.write(f"\n{fault.name}: given up after {elapsed_s:.1f} s")
        assert elapsed_s <= 6.0 + LONGEST_OVERRUN_S
    weather.set(None)
    weather.over.set()
    assert not store.exists(name)
    store.put(name, DATA, "image/png")
    assert store.get(name) == DATA


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.TRUNCATED])
def test_a_body_that_always_breaks_off_is_never_taken_for_whole(weather: Weather, fault: Fault) -> None:
    store, name = opened(within_s=3.0), key(f"broken-{fault.name}")
    store.put(name, DATA, "image/png")
    weather.set(fault)
    with pytest.raises(ObjectsUnavailable):
        store.get(name)


def test_an_upload_that_always_breaks_off_leaves_nothing(weather: Weather) -> None:
    store, name = opened(within_s=3.0), key("half")
    weather.set(Fault.RESET)
    with pytest.raises(ObjectsUnavailable):
        store.put(name, DATA, "image/png")
    weather.set(None)
    assert store.keys("inputs/local/half/") == []


def test_bytes_that_are_not_those_that_were_written_are_refused(weather: Weather) -> None:
    store, name = opened(), key("flipped")
    store.put(name, DATA, "image/png")
    weather.set(Fault.FLIPPED)
    with pytest.raises(ObjectCorrupt):
        store.get(name)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from jobs.errors import ObjectsUnavailable
from jobs.objects import ObjectStore
from jobs.settings import JobSettings
store = ObjectStore.from_settings(JobSettings(data_dir=Path(sys.argv[1])))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    store.put("inputs/local/job/target.png", b"x" * 300_000, "image/png")
except ObjectsUnavailable as error:
    print(error.code)
print(store.keys("inputs/local/job/"), store.exists("inputs/local/job/target.png"))
store.put("inputs/local/job/reference.png", b"x" * 50_000, "image/png")
print(len(store.get("inputs/local/job/reference.png")))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of Unix")
def test_a_full_disk_is_one_error_and_no_half_object(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True)
    printed = [line for line in done.stdout.splitlines() if "objects.failed" not in line]
    assert printed == ["objects_unavailable", "[] False", "50000"]


def test_a_store_that_is_down_is_given_up_within_ones_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the service does while a client waits; a transfer of bytes may still last longer than that."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    settings = JobSettings(objects_url="s3://plumage/bucket", objects_timeout_s=120.0)
    store = ObjectStore.from_settings(settings, patience_s=1.5)
    begun = time.monotonic()
    with pytest.raises(ObjectsUnavailable):
        store.put(key("down"), DATA, "image/png")
    assert time.monotonic() - begun < 1.5 + LONGEST_OVERRUN_S


@pytest.fixture
def api(weather: Weather, tmp_path: Path) -> Iterator[Api]:
    """With the patience of the service, and a Redis of its own."""
    with start_redis(tmp_path, fsync="everysec") as redis:
        jobs = JobSettings(redis_url=redis.url, objects_url=f"s3://plumage/{tmp_path.name}", objects_timeout_s=30)
        with serving(ServiceSettings(), jobs, ObjectStore.from_settings(jobs, patience_s=STORE_PATIENCE_S)) as api:
            yield api


def refused_in_seconds(send: Callable[[], httpx.Response], fault: str) -> None:
    began = time.monotonic()
    refused = send()
    elapsed_s = time.monotonic() - began
    assert (refused.status_code, refused.json()["code"]) == (503, "objects_unavailable")
    assert "Retry-After" in refused.headers
    sys.stderr.write(f"\n{fault}: refused after {elapsed_s:.1f} s")
    assert elapsed_s <= 3.0 + LONGEST_OVERRUN_S


@pytest.mark.parametrize(
    ("fault", "method"),
    [(Fault.BLACK_HOLE, None), (Fault.ERROR, None), (Fault.ERROR, "PUT"), (Fault.LATE_ERROR, "PUT")],
)
def test_a_submission_is_refused_in_seconds_and_may_be_sent_again_at_once(
    api: Api, weather: Weather, fault: Fault, method: str | None
) -> None:
    weather.set(fault, method=method)
    send = partial(api.submit, headers={"Idempotency-Key": "one"})
    for _ in range(2):  # the key is free again
        refused_in_seconds(send, f"{fault.name} {method or 'all'}")
    assert api.store.list_jobs(tenant="local").items == []
    weather.set(None)
    weather.over.set()
    accepted = send()
    assert accepted.status_code == 202
    while GarbageCollector(api.stores, api.objects, leftover_age_s=0, abandoned_age_s=0).collect():
        pass
    assert {key.split("/")[2] for key in api.inputs()} == {accepted.json()["id"]}


@pytest.mark.parametrize("fault", [Fault.BLACK_HOLE, Fault.ERROR])
def test_an_upload_is_refused_in_seconds_and_may_be_sent_again_at_once(
    api: Api, weather: Weather, fault: Fault
) -> None:
    send = partial(api.http.post, "/v1/assets", files={"file": ("a.png", TARGET)})
    weather.set(fault)
    refused_in_seconds(send, fault.name)
    weather.set(None)
    weather.over.set()
    assert send().status_code == 201
    weather.set(fault)
    assert send().status_code == 200  # it is known, so the store is not needed
