"""Decodes pictures in child processes, so that a picture made to break a decoder breaks a child.

A few children are kept warm; one does a picture at a time and is replaced after some pictures, after a crash, and when
it is late. Their environment has no secret in it, and their response is not trusted either: it is JSON and bytes, never
pickled, and has to be a PNG of bare pixels.
"""

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing import Pipe
from queue import Empty, LifoQueue
from typing import Any

import structlog

from uploads.decoder_process import READY
from uploads.errors import DecoderUnavailable, InvalidImage
from uploads.formats import is_heif
from uploads.images import CheckedPicture, PictureLimits, Size
from uploads.png import PROFILE_HEADER, SIGNATURE
from uploads.profiles import LARGEST_PROFILE, bare_rgb_profile

_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGSYS, signal.SIGTRAP}
"""A child that ends by one of these was broken by its picture."""
_PASSED_VARIABLES = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
_CHILD_VARIABLES = {"PYTHONUNBUFFERED": "1", "MALLOC_ARENA_MAX": "1"}
"""One heap for all threads: each further one would take 64 MiB out of the address space that a child may have."""
_MAX_RESPONSE_BYTES = 4096
_EXIT_GRACE_S = 1.0
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DecodeBounds:
    """What one picture may cost."""

    cpu_s: float = 20.0
    wall_s: float = 60.0
    """Past it the machine is too busy, or the child hangs."""
    pictures_per_child: int = 200
    base_memory_bytes: int = 256 * 2**20
    memory_bytes_per_pixel: int = 20
    """Of the largest allowed picture. WebP takes most, 18; the other formats up to 13."""


class DecoderPool:
    """Safe to share between threads; at most `at_once` pictures are decoded at a time, others wait."""

    def __init__(self, limits: PictureLimits, *, at_once: int, bounds: DecodeBounds = DecodeBounds()) -> None:
        self.limits = limits
        self._bounds = bounds
        self._memory_bytes = bounds.base_memory_bytes + bounds.memory_bytes_per_pixel * limits.max_pixels
        self._at_once = at_once
        self._closed = False
        self._slots: LifoQueue[_Child | None] = LifoQueue()
        for _ in range(at_once):
            self._slots.put(None)

    def start(self) -> None:
        """Starts all children without waiting for them. Without it each is started by the first picture it gets."""
        taken = [self._slots.get() for _ in range(self._at_once)]
        for child in taken:
            self._slots.put(child or self._next_child(None))

    def close(self) -> None:
        """Ends the idle children. One that is at work ends with its picture, or with this process."""
        self._closed = True
        taken = []
        with suppress(Empty):
            while True:
                taken.append(self._slots.get_nowait())
        for child in taken:
            if child is not None:
                child.end()
            self._slots.put(None)

    def check_picture(self, data: bytes, *, keep_profile: bool = False) -> CheckedPicture:
        """As `uploads.images.check_picture`. Raises InvalidImage, `image_unreadable` also for a picture that crashes
        its decoder or needs more memory or time than any honest one; DecoderUnavailable when it could not be decoded
        here and now."""
        return self._check(data, {"size": None, "keep_profile": keep_profile})

    def check_mask(self, data: bytes, size: Size, scaled_from: Size | None = None) -> CheckedPicture:
        """As `uploads.images.check_mask`. Raises as `check_picture` of this class does."""
        return self._check(data, {"size": size, "scaled_from": scaled_from})

    def _check(self, data: bytes, asked: dict[str, Any]) -> CheckedPicture:
        if len(data) > self.limits.max_bytes:
            raise InvalidImage("image_too_many_bytes", f"at most {self.limits.max_bytes} bytes are allowed")
        request = {"limits": asdict(self.limits), "cpu_s": self._bounds.cpu_s, **asked}
        try:
            child = self._slots.get(timeout=self._bounds.wall_s)
        except Empty:
            raise DecoderUnavailable("All decoders are busy.") from None
        try:
            for _ in range(2):
                if child is not None and child.pictures and is_heif(data):
                    child.end()
                if child is None or not child.alive:
                    child = self._start_child()
                try:
                    return child.decode(request, data, self._max_png_bytes(), self._bounds.wall_s)
                except _ChildDied as death:
                    _raise_for(death, self._bounds)
            raise DecoderUnavailable("The decoder ended twice, and not by fault of the picture.")
        finally:
            self._slots.put(self._next_child(child))

    def _next_child(self, child: "_Child | None") -> "_Child | None":
        """The child for the next picture: a fresh one is started now, so that it is warm by then."""
        used_up = child is None or child.pictures >= self._bounds.pictures_per_child or child.is_suspect
        if child is not None and child.alive and not used_up and not self._closed:
            return child
        if child is not None:
            child.end()
        if self._closed:
            return None
        with suppress(DecoderUnavailable):
            return self._start_child()
        return None

    def _start_child(self) -> "_Child":
        try:
            return _Child(self._memory_bytes)
        except OSError as error:
            log.error("decoder.unstarted", reason=str(error))
            raise DecoderUnavailable("No decoder can be started.") from error

    def _max_png_bytes(self) -> int:
        return 2**16 + 5 * self.limits.max_pixels


class _ChildDied(Exception):
    def __init__(self, status: int, late: bool) -> None:
        super().__init__(f"exit status {status}")
        self.status = status
        self.late = late


def _raise_for(death: _ChildDied, bounds: DecodeBounds) -> None:
    """Raises what this end of a child means; returns when the picture did not cause it, and may be tried again."""
    log.warning("decoder.died", status=death.status, late=death.late)
    if death.late:
        raise DecoderUnavailable(f"The picture was not decoded within {bounds.wall_s:g} s.")
    if death.status == -signal.SIGPROF:
        raise InvalidImage("image_unreadable", "the picture takes too long to decode")
    if -death.status in _CRASHES:
        raise InvalidImage("image_unreadable", "the picture is damaged in a way that ends its decoder")


class _Child:
    """One decoder process. It ends when its pipe does, so also when this process is killed."""

    def __init__(self, memory_bytes: int) -> None:
        self._pipe, far_end = Pipe()
        self.pictures = 0
        self.is_suspect = False
        """Whether it has read a HEIC file. libheif has had faults by which a file takes over its reader (ADR 34), so
        no other picture may be in the same memory, before it or after."""
        self._ready = False
        environment = {name: os.environ[name] for name in _PASSED_VARIABLES if name in os.environ}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "uploads.decoder_process", str(far_end.fileno()), str(memory_bytes)],
                env=environment | _CHILD_VARIABLES,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(far_end.fileno(),),
                start_new_session=True,
            )
        except BaseException:
            self._pipe.close()
            raise
        finally:
            far_end.close()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._pipe.close()

    def decode(self, request: dict[str, Any], data: bytes, max_png_bytes: int, within_s: float) -> CheckedPicture:
        """Raises InvalidImage, and _ChildDied when the child has ended or had to be ended."""
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._process.kill()

        self.pictures += 1
        self.is_suspect = is_heif(data)
        deadline = threading.Timer(within_s, stop)
        deadline.start()
        try:
            self._wait_until_ready()
            self._pipe.send_bytes(json.dumps(request).encode())
            self._pipe.send_bytes(data)
            response = json.loads(self._pipe.recv_bytes(_MAX_RESPONSE_BYTES))
            checked = parse_response(response, self._pipe.recv_bytes(max_png_bytes))
        except (EOFError, OSError, ValueError, KeyError, TypeError) as error:
            raise _ChildDied(self._status(error), late.is_set()) from error
        finally:
            deadline.cancel()
        return checked

    def _status(self, error: Exception) -> int:
        """Its exit status. A child that has not ended by itself is not trusted any more, and killed."""
        if isinstance(error, EOFError | OSError):
            with suppress(subprocess.TimeoutExpired):
                return self._process.wait(_EXIT_GRACE_S)
        self._process.kill()
        return self._process.wait()

    def _wait_until_ready(self) -> None:
        if not self._ready:
            self._ready = self._pipe.recv_bytes(_MAX_RESPONSE_BYTES) == READY


def parse_response(response: dict[str, Any], png: bytes) -> CheckedPicture:
    """Raises InvalidImage as the child did; ValueError, KeyError or TypeError for what no sound child responds."""
    if "code" in response:
        if not str(response["code"]).startswith(("image_", "mask_")):
            raise ValueError("not a code of a picture")
        raise InvalidImage(str(response["code"]), str(response["message"]))
    width, height = int(response["width"]), int(response["height"])
    _require_bare_png(png, width, height)
    scaled_from = response.get("scaled_from")
    if scaled_from is not None:
        scaled_from = (int(scaled_from[0]), int(scaled_from[1]))
    return CheckedPicture(png, width, height, bool(response["has_alpha"]), scaled_from)


def _require_bare_png(png: bytes, width: int, height: int) -> None:
    """Raises ValueError unless `png` is a header of this size, 8 bit deep, pixels, and nothing else but, before them,
    a profile of bare numbers."""
    if png[:8] != SIGNATURE or png[8:25] != struct.pack(">I4sIIB", 13, b"IHDR", width, height, 8):
        raise ValueError("not a PNG of 8 bits, or of another size")
    position, kinds = 8, []
    while position + 12 <= len(png):
        (length,) = struct.unpack_from(">I", png, position)
        kinds.append(png[position + 4 : position + 8])
        position += 12 + length
    if b"iCCP" in kinds[1:2]:
        _require_bare_profile(png[41 : 33 + 12 + int.from_bytes(png[33:37]) - 4])
        del kinds[1]
    if position != len(png) or kinds[-1] != b"IEND" or set(kinds[1:-1]) != {b"IDAT"}:
        raise ValueError("a PNG with more than pixels in it")


def _require_bare_profile(chunk: bytes) -> None:
    """Raises ValueError unless an iCCP chunk's content is a profile as `uploads.profiles` composes it."""
    inflating = zlib.decompressobj()
    try:
        profile = inflating.decompress(chunk.removeprefix(PROFILE_HEADER), LARGEST_PROFILE)
    except zlib.error as error:
        raise ValueError("a profile that cannot be inflated") from error
    if not inflating.eof or inflating.unused_data or bare_rgb_profile(profile) != profile:
        raise ValueError("a profile of more than bare numbers")
