"""The bad-picture set through the API: an answer to each, nothing crashes, little memory, only pixels get in.

With PLUMAGE_PILLOW_IMAGES set to the folder `Tests/images` of a copy of Pillow's sources, its files go the same way.
"""

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from redis import Redis

from jobs.settings import JobSettings
from service.settings import ServiceSettings
from tests.bad_pictures import MARK, PICTURES
from tests.contract.http.conftest import REFERENCE, Stack, serving
from tests.pictures import decoded

RSS_MB = 600
PILLOW_IMAGES = os.environ.get("PLUMAGE_PILLOW_IMAGES")
ACCEPTED = (
    "bomb: the largest",
    "metadata:",
    "odd: ",
    "polyglot: page",
    "polyglot: archive",
    "polyglot: picture",
    "polyglot: program",
)
REFUSED = ("damage:", "type:", "animated:", "polyglot: GIF")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


class Memory:
    """Resident memory of this process, which serves, and of its decoders."""

    def __init__(self) -> None:
        self.start_mb = self.peak_mb = self._now_mb()

    def sample(self) -> None:
        self.peak_mb = max(self.peak_mb, self._now_mb())

    @staticmethod
    def _now_mb() -> float:
        pids, pages = {os.getpid()}, 0
        for task in Path("/proc/self/task").iterdir():
            with suppress(OSError):  # a thread that has ended
                pids |= {int(pid) for pid in (task / "children").read_text().split()}
        for pid in pids:
            with suppress(OSError):
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def measured(memory: Memory) -> Iterator[None]:
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            memory.sample()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def chunk_kinds(png: bytes) -> set[bytes]:
    kinds, at = set(), 8
    while at < len(png):
        kinds.add(png[at + 4 : at + 8])
        at += 12 + int.from_bytes(png[at : at + 4])
    return kinds


def send(stack: Stack, name: str, data: bytes) -> int:
    """Submits the picture, checks the answer and what was stored, and prints how long it took. Returns the status."""
    began = time.perf_counter()
    response = stack.submit(target=data, reference=REFERENCE)
    seconds = time.perf_counter() - began
    body = response.json()
    outcome = "accepted" if response.status_code == 202 else body["code"]
    sys.stderr.write(f"{name:<45} {len(data):>10} B  {seconds:6.2f} s  {response.status_code} {outcome}\n")
    assert response.status_code == 202 or 400 <= response.status_code < 500, (name, body)
    for key in stack.inputs():
        stored = stack.objects.get(key)
        assert chunk_kinds(stored) == {b"IHDR", b"IDAT", b"IEND"}, name
        assert decoded(stored).mode in ("RGB", "RGBA")
        assert MARK not in stored, name
    assert len(stack.inputs()) == (2 if response.status_code == 202 else 0)
    stack.objects.delete_prefix("inputs/")
    return response.status_code


@pytest.fixture
def stack(redis: Redis, job_settings: JobSettings) -> Iterator[Stack]:
    with serving(ServiceSettings(), job_settings) as stack:
        stack.http.timeout = httpx.Timeout(120.0)  # a busy machine is no fault of the pictures
        yield stack


def test_every_bad_picture_gets_an_answer_and_nothing_else_happens(stack: Stack) -> None:
    pictures = {name: make() for name, make in PICTURES.items()}
    stack.submitted()
    stack.objects.delete_prefix("inputs/")
    memory = Memory()
    sys.stderr.write("\n")
    with measured(memory):
        began = time.perf_counter()
        accepted = {name for name, data in pictures.items() if send(stack, name, data) == 202}
        seconds = time.perf_counter() - began
    assert {name for name in accepted if name.startswith(REFUSED)} == set()
    assert {name for name in pictures if name.startswith(ACCEPTED)} - accepted == set()
    growth_mb = memory.peak_mb - memory.start_mb
    sys.stderr.write(
        f"{len(pictures)} pictures in {seconds:.1f} s, {len(accepted)} accepted, memory +{growth_mb:.0f} MB\n"
    )
    assert growth_mb <= RSS_MB
    assert stack.submit().status_code == 202


@pytest.mark.slow
@pytest.mark.skipif(not PILLOW_IMAGES, reason="PLUMAGE_PILLOW_IMAGES names no copy of Pillow's Tests/images")
def test_pillows_own_test_images(stack: Stack) -> None:
    files = sorted(path for path in Path(PILLOW_IMAGES or "").rglob("*") if path.is_file())
    assert files
    stack.submitted()
    stack.objects.delete_prefix("inputs/")
    memory = Memory()
    with measured(memory):
        statuses = Counter(send(stack, path.name, path.read_bytes().replace(MARK, b"")) for path in files)
    sys.stderr.write(f"{len(files)} files: {dict(statuses)}, memory +{memory.peak_mb - memory.start_mb:.0f} MB\n")
    assert memory.peak_mb - memory.start_mb <= RSS_MB
