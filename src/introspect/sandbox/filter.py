"""The system calls that a tested program may make, as a seccomp-BPF filter.

The filter is an allow-list: what is not on it fails with EPERM, and a call through another architecture's table kills
the process. A program that computes needs memory, the clock, one pipe to write to, and to end; it needs no file, no
process, no thread, no signal and no socket, so none of their calls is on the list. Left out on purpose though an
allocator may use it: `madvise`, by which root can take a page of memory out of service. `futex` is left out too: one
thread never waits. x32 calls carry a bit in their number and so match nothing on the list.

Sources: seccomp(2), Documentation/userspace-api/seccomp_filter.rst and include/uapi/linux/{seccomp,filter,audit}.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

RESULT_FD = 1
"""The only file descriptor that may be written to: the pipe to the parent."""

_LOAD_WORD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
"""Offsets in struct seccomp_data; of the argument its low half, which comes first on a little-endian machine."""
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000
"""SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO with EPERM, SECCOMP_RET_KILL_PROCESS."""


@dataclass(frozen=True)
class Machine:
    """What a filter has to know of an architecture."""

    audit: int
    """AUDIT_ARCH_*."""
    write: int
    """Number of the call that is allowed on `RESULT_FD` only."""
    allowed: tuple[int, ...]
    """Numbers of the calls that are allowed with any arguments."""


_X86_64 = {
    "mmap": 9,
    "mprotect": 10,
    "munmap": 11,
    "brk": 12,
    "mremap": 25,
    "exit": 60,
    "gettimeofday": 96,
    "time": 201,
    "clock_gettime": 228,
    "exit_group": 231,
}
_AARCH64 = {
    "exit": 93,
    "exit_group": 94,
    "clock_gettime": 113,
    "gettimeofday": 169,
    "brk": 214,
    "munmap": 215,
    "mremap": 216,
    "mmap": 222,
    "mprotect": 226,
}
_ARM_64 = Machine(0xC00000B7, 64, tuple(_AARCH64.values()))
MACHINES = {"x86_64": Machine(0xC000003E, 1, tuple(_X86_64.values())), "aarch64": _ARM_64, "arm64": _ARM_64}
"""By `platform.machine()`."""


def build_filter(machine: Machine) -> bytes:
    """The filter as an array of struct sock_filter, 8 bytes each, in the machine's own byte order."""
    allowed = machine.allowed
    refuse_at = 5 + len(allowed)
    lines = [
        (_LOAD_WORD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, KILL),
        (_LOAD_WORD, 0, 0, _NUMBER),
        (_JUMP_EQUAL, refuse_at + 1 - 5, 0, machine.write),
        *((_JUMP_EQUAL, refuse_at + 4 - (6 + i), 0, number) for i, number in enumerate(allowed)),
        (_RETURN, 0, 0, REFUSE),
        (_LOAD_WORD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_EQUAL, 1, 0, RESULT_FD),
        (_RETURN, 0, 0, REFUSE),
        (_RETURN, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)
