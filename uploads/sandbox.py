"""Takes from this process what decoding a picture does not need: memory without end, files, network, other programs.

On every Unix: limits on address space and core dumps, and no new file descriptor, so that no file and no socket can be
opened. On Linux with x86-64 also a seccomp filter that allows some thirty system calls (memory, threads, the open
pipe) and refuses all others. None of it needs a privilege, and none of it can be taken back. What is missing: elsewhere
a decoder that has been taken over could still signal or trace processes of the same user.
"""

import ctypes
import errno
import os
import platform
import resource
import struct
import sys
from pathlib import Path

_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 4, 22, 38
_SECCOMP_MODE_FILTER = 2
_AUDIT_ARCH_X86_64 = 0xC000003E
_CLONE_THREAD = 0x10000
_KILL, _ALLOW, _ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_CALL, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
"""Offsets in struct seccomp_data."""
X86_64_CALLS = {
    "read": 0,
    "write": 1,
    "close": 3,
    "fstat": 5,
    "lseek": 8,
    "mmap": 9,
    "mprotect": 10,
    "munmap": 11,
    "brk": 12,
    "rt_sigaction": 13,
    "rt_sigprocmask": 14,
    "rt_sigreturn": 15,
    "sched_yield": 24,
    "mremap": 25,
    "madvise": 28,
    "setitimer": 38,
    "getpid": 39,
    "exit": 60,
    "gettimeofday": 96,
    "getrusage": 98,
    "sigaltstack": 131,
    "gettid": 186,
    "futex": 202,
    "sched_getaffinity": 204,
    "restart_syscall": 219,
    "clock_gettime": 228,
    "exit_group": 231,
    "set_robust_list": 273,
    "getrandom": 318,
    "rseq": 334,
}
_CLONE, _CLONE3 = 56, 435


def confine(more_memory_bytes: int) -> None:
    """For the rest of its life this process gets at most so much more address space, and nothing that is not open."""
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + more_memory_bytes,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        _prctl(libc, _PR_SET_DUMPABLE, 0, 0)
        _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1, 0)
        if platform.machine() == "x86_64":
            _filter_calls(libc)


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _filter_calls(libc: ctypes.CDLL) -> None:
    """A kernel that was built without seccomp refuses the filter, and the limits have to do."""
    program = b"".join(struct.pack("=HBBI", *line) for line in filter_program())
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    try:
        _prctl(libc, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.create_string_buffer(header, len(header)))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS):
            raise


def filter_program() -> list[tuple[int, int, int, int]]:
    """Classic BPF, as (code, jump if true, jump if false, operand). Refused calls fail with EPERM; clone3 with ENOSYS,
    so that the C library falls back to clone, whose flags a filter can see."""
    calls = sorted(X86_64_CALLS.values())
    refuse_at = 6 + len(calls)
    allow_at = refuse_at + 4
    lines = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _AUDIT_ARCH_X86_64),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _CALL),
    ]
    for call in calls:
        lines.append((_EQUAL, allow_at - len(lines) - 1, 0, call))
    lines.append((_EQUAL, refuse_at + 1 - len(lines) - 1, 0, _CLONE))
    lines.append((_EQUAL, refuse_at + 3 - len(lines) - 1, 0, _CLONE3))
    return [
        *lines,
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_ANY_BIT, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _prctl(libc: ctypes.CDLL, option: int, value: int, address: object) -> None:
    if libc.prctl(option, value, address, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
