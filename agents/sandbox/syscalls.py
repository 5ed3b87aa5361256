"""The few system calls that Python 3.11 has no name for, each raising OSError as Python's own do."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

PR_SET_PDEATHSIG = 1  # these from <linux/prctl.h>
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
CAPABILITY_VERSION_3 = 0x20080522  # <linux/capability.h>: two words for each set

_libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> int:
    """Call a function of libc by name; integers are passed as longs, bytes as strings."""
    given: list[object] = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result: int = getattr(_libc, name)(*given)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def prctl(option: int, value: int = 0, more: object = 0) -> int:
    return call("prctl", option, value, more, 0, 0)


def every_capability() -> range:
    """The numbers of all capabilities that this kernel knows."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        return range(int(file.read()) + 1)


def drop_capabilities(which: Iterable[int]) -> None:
    """Give capabilities up for good: out of the bounding set, too, or root would have them back at the next exec."""
    header, sets = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    call("capget", header, sets)  # effective, permitted, inheritable of 0 to 31, then the same of 32 to 63
    setpcap = sets[0] >> 8 & 1
    for one in which:
        if setpcap:  # without CAP_SETPCAP this process is no root, and has nothing to lose
            prctl(PR_CAPBSET_DROP, one)
        for kind in range(3):
            sets[one // 32 * 3 + kind] &= ~(1 << one % 32)
    call("capset", header, sets)
