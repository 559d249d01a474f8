"""Pictures are decoded in other processes: what comes back, what those processes may do, and what their death means."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from PIL import Image

from tests.pictures import LINEAR_GRAY, SIZE, SWAPPED_RGB, chunk, encoded, gradient, heic
from uploads.decoder_pool import DecodeBounds, DecoderPool, parse_response
from uploads.errors import DecoderUnavailable, InvalidImage
from uploads.images import CheckedPicture, PictureLimits, check_mask, check_picture

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

LIMITS = PictureLimits()
USUAL = DecodeBounds()
SOUND = encoded(gradient())
LARGE = encoded(gradient(size=(2500, 2500)), "WEBP", quality=50, method=0)
LARGE_PNG = encoded(gradient(size=(2500, 2500)))


def decoder_pids() -> set[int]:
    children: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that ended meanwhile
            children.update(int(pid) for pid in (task / "children").read_text().split())
    return {pid for pid in children if b"uploads.decoder_process" in Path(f"/proc/{pid}/cmdline").read_bytes()}


@contextmanager
def one_decoder(bounds: DecodeBounds = USUAL) -> Iterator[tuple[DecoderPool, int]]:
    """A pool of one, and the process id of its child, which is warm."""
    others = decoder_pids()
    decoders = DecoderPool(LIMITS, at_once=1, bounds=bounds)
    try:
        assert decoders.check_picture(SOUND).width == SIZE[0]
        (pid,) = decoder_pids() - others
        yield decoders, pid
    finally:
        decoders.close()


@pytest.fixture(scope="module")
def decoders() -> Iterator[DecoderPool]:
    with one_decoder() as (decoders, _):
        yield decoders


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize(
    "data",
    [
        SOUND,
        encoded(gradient("RGBA"), "WEBP", lossless=True, icc_profile=SWAPPED_RGB),
        encoded(gradient("CMYK"), "JPEG", exif=turned()),
        encoded(gradient("L"), icc_profile=LINEAR_GRAY),
        encoded(gradient("P"), transparency=b"\0\x80", exif=turned()),
        encoded(gradient(), "MPO", save_all=True, append_images=[gradient()]),
    ],
)
def test_a_child_gives_what_this_process_would(decoders: DecoderPool, data: bytes) -> None:
    assert decoders.check_picture(data) == check_picture(data, LIMITS)
    assert decoders.check_mask(data, size := _size(data)) == check_mask(data, LIMITS, size)


def _size(data: bytes) -> tuple[int, int]:
    checked = check_picture(data, LIMITS)
    return checked.width, checked.height


@pytest.mark.parametrize(
    "data", [b"", b"hello", SOUND[:60], encoded(gradient(size=(8, 8))), b"\xff\xd8\xff" + b"a" * 99], ids=range(5)
)
def test_a_child_refuses_as_this_process_would(decoders: DecoderPool, data: bytes) -> None:
    with pytest.raises(InvalidImage) as here:
        check_picture(data, LIMITS)
    with pytest.raises(InvalidImage) as there:
        decoders.check_picture(data)
    assert (there.value.code, str(there.value)) == (here.value.code, str(here.value))
    with pytest.raises(InvalidImage) as mask:
        decoders.check_mask(SOUND, (16, 16))
    assert mask.value.code == "mask_size_mismatch"


# --- what a child may do ---

ATTEMPTS = """
import ctypes, os, socket, subprocess, sys
from uploads.sandbox import confine
confine(64 * 2**20)
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "")
attempts = {
    "socket": lambda: socket.socket(),
    "open": lambda: open("/etc/hostname"),
    "write": lambda: open("/tmp/plumage-confine", "w"),
    "memory": lambda: bytearray(128 * 2**20),
    "limit": lambda: __import__("resource").setrlimit(7, (64, 64)),
}
filtered = {
    "fork": os.fork,
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "kill": lambda: os.kill(os.getppid(), 0),
    "trace": lambda: call("ptrace", 16, os.getppid(), 0, 0),
    "remove": lambda: os.unlink("/tmp/plumage-confine-none"),
}
import platform
if platform.machine() == "x86_64":
    attempts |= filtered
for name, attempt in attempts.items():
    try:
        attempt()
    except (PermissionError, MemoryError):
        pass
    except OSError as error:
        if error.errno not in (24, 38):  # no descriptor, no such call
            print(name, error)
    except ValueError:
        pass
    else:
        print(name, "was allowed")
bytearray(32 * 2**20)
import threading
thread = threading.Thread(target=int)
thread.start()
thread.join()
print("computes")
"""


def test_a_confined_process_computes_and_nothing_else() -> None:
    script = [sys.executable, "-c", "import resource, threading\n" + ATTEMPTS]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "computes\n"), done.stderr


def test_children_are_confined_and_know_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUMAGE_REDIS_URL", "redis://:secret@example.org")
    with one_decoder() as (_, pid):
        status = Path(f"/proc/{pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status
        if os.uname().machine == "x86_64":
            assert "Seccomp:\t2" in status
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except PermissionError:
            return  # its memory is closed to its own user too
        assert b"secret" not in environment


def test_children_end_with_their_parent() -> None:
    program = (
        "import time; from uploads.decoder_pool import DecoderPool; from uploads.images import PictureLimits;"
        "decoders = DecoderPool(PictureLimits(), at_once=2); decoders.start(); print('started', flush=True);"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"started\n"
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        assert len(children) == 2
        parent.kill()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- what its end means ---


def refusal(decoders: DecoderPool, data: bytes) -> str:
    with pytest.raises(InvalidImage) as caught:
        decoders.check_picture(data)
    assert caught.value.code == "image_unreadable"
    return str(caught.value)


def test_too_much_memory() -> None:
    with one_decoder(DecodeBounds(base_memory_bytes=24 * 2**20, memory_bytes_per_pixel=0)) as (decoders, _):
        assert "memory" in refusal(decoders, LARGE_PNG)
        assert decoders.check_picture(SOUND).width == SIZE[0]


def test_too_much_time() -> None:
    with one_decoder(DecodeBounds(cpu_s=0.05)) as (decoders, pid):
        assert "too long" in refusal(decoders, LARGE)
        assert not Path(f"/proc/{pid}").exists()
        assert decoders.check_picture(SOUND).width == SIZE[0]


@contextmanager
def hit(pid: int, number: signal.Signals) -> Iterator[None]:
    """The signal meets the child while it has a picture."""
    os.kill(pid, signal.SIGSTOP)

    def strike() -> None:
        time.sleep(0.3)
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=strike)
    thread.start()
    yield
    thread.join()


def test_a_picture_that_crashes_its_decoder_is_refused() -> None:
    with one_decoder() as (decoders, pid):
        with hit(pid, signal.SIGSEGV):
            assert "ends its decoder" in refusal(decoders, SOUND)
        assert decoders.check_picture(SOUND).width == SIZE[0]


def test_an_accident_of_the_child_is_not_the_pictures_fault() -> None:
    with one_decoder() as (decoders, pid):
        with hit(pid, signal.SIGKILL):
            assert decoders.check_picture(SOUND).width == SIZE[0]


def test_a_child_that_died_idle_is_replaced() -> None:
    with one_decoder() as (decoders, pid):
        os.kill(pid, signal.SIGKILL)
        assert decoders.check_picture(SOUND).width == SIZE[0]


def test_a_child_that_hangs_is_ended() -> None:
    with one_decoder(DecodeBounds(wall_s=5.0)) as (decoders, pid):
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(DecoderUnavailable):
            decoders.check_picture(SOUND)
        assert not Path(f"/proc/{pid}").exists()


def test_a_child_does_a_few_pictures_and_is_replaced() -> None:
    with one_decoder(DecodeBounds(pictures_per_child=2)) as (decoders, pid):
        decoders.check_picture(SOUND)
        assert not Path(f"/proc/{pid}").exists()
        assert decoders.check_picture(SOUND).width == SIZE[0]


def test_a_heic_file_is_alone_in_its_child() -> None:
    with one_decoder() as (decoders, used):
        others = decoder_pids() - {used}
        os.kill(used, signal.SIGSTOP)  # what has had a picture is not asked
        decoders.check_mask(heic("l"), SIZE)
        assert not Path(f"/proc/{used}").exists()
        decoders.check_picture(SOUND)
        (second,) = decoder_pids() - others
        refusal(decoders, heic("rgb")[:300])
        assert not Path(f"/proc/{second}").exists()
    decoders = DecoderPool(LIMITS, at_once=1)
    try:
        decoders.start()
        while not (fresh := decoder_pids() - others):
            time.sleep(0.01)
        decoders.check_mask(heic("l"), SIZE)
        decoders.check_picture(SOUND)
        assert not decoder_pids() & fresh
    finally:
        decoders.close()


def test_what_a_child_responds_is_not_believed() -> None:
    sound = check_picture(SOUND, LIMITS)
    described = {"width": sound.width, "height": sound.height, "has_alpha": False}
    assert parse_response(described, sound.png) == CheckedPicture(sound.png, sound.width, sound.height, False)
    text = sound.png[:33] + chunk(b"tEXt", b"Comment\0hidden") + sound.png[33:]
    for response, png in (
        (described, text),
        (described, sound.png + b"tail"),
        (described, sound.png[:-12]),
        (described | {"width": 1}, sound.png),
        (described, b"\xff\xd8\xff"),
        ({"code": "internal_error", "message": "no picture's code"}, b""),
        ({}, b""),
    ):
        with pytest.raises((ValueError, KeyError)):
            parse_response(response, png)
