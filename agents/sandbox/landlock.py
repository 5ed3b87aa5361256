"""Close a program in with Landlock, where bubblewrap cannot run: the kernel refuses it other files and the network.

Landlock names what may be touched: what is not named cannot be opened, /proc and so every environment among it. It
leaves out some calls that look at or change a file without opening it (stat, chmod, times). The network is refused
by seccomp, since Landlock knows TCP alone, and only from ABI 4 on. See man 7 landlock, and Documentation/
userspace-api/landlock.rst of the kernel for what each ABI added.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import struct
from collections.abc import Iterable, Sequence

from agents.sandbox.syscalls import (
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    call,
    drop_capabilities,
    every_capability,
    prctl,
)

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same number on every processor
# <linux/landlock.h>, the rights to files, by bit.
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 1 << 1, 1 << 2, 1 << 3
MAKE_CHAR, MAKE_BLOCK, TRUNCATE, IOCTL_DEV = 1 << 6, 1 << 11, 1 << 14, 1 << 15
RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}  # ABI -> how many of the bits it knows
NET_ABI, SCOPE_ABI = 4, 6
TCP = 0b11  # bind and connect
SCOPES = 0b11  # abstract unix sockets, and signals to processes outside
TO_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV  # what can be granted on something not a folder
PATH_BENEATH = 1
# <linux/audit.h>, and socket(2) in the table of each processor; io_uring makes sockets, too, and has one number.
PROCESSORS = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
IO_URING_SETUP = 425
X32 = 0x40000000  # set in the numbers of x86_64's other table
PR_SET_SECCOMP, FILTER_MODE = 22, 2
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06  # of classic BPF: load a word, jump if, jump if >=, return
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EACCES
CANNOT, NOT_FOUND = 125, 127  # exit codes, as in init.py


def abi() -> int:
    """The version of Landlock that this kernel offers; 0 where it has none."""
    try:
        return call("syscall", CREATE_RULESET, None, 0, 1)
    except OSError:
        return 0


def rights(version: int) -> int:
    """All rights to files that this version of the ABI knows; bits that it does not know would be an error."""
    return (1 << max(count for since, count in RIGHTS.items() if since <= version)) - 1


def main(words: Sequence[str]) -> None:
    """Become the program `words[1:]`, closed in as the JSON document `words[0]` says."""
    given, argv = json.loads(words[0]), list(words[1:])
    tell = int(given["tell"])  # a pipe, to say that what comes now is the program
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        close_in(given)
    except OSError as error:
        os.write(2, f"Landlock: {error.strerror}\n".encode())
        os._exit(CANNOT)
    os.chdir(given["write"])
    os.write(tell, b'{"running": true}\n')
    os.close(tell)
    try:
        os.execvpe(argv[0], argv, given["env"])
    except OSError as error:
        os.write(2, f"{argv[0]}: cannot be run: {error.strerror}\n".encode())
        os._exit(NOT_FOUND)


def close_in(given: dict) -> None:
    """Give up files, capabilities, network and resources for good, for this process and all that it starts."""
    version = abi()
    if not version:
        raise OSError(errno.ENOSYS, "this kernel has none; it takes Linux 5.13, and landlock in its `lsm=` list")
    ruleset = _ruleset(version)
    every = rights(version)
    for path in given["read"]:
        _allow(ruleset, path, EXECUTE | READ_FILE | READ_DIR)
    for path in given["devices"]:
        _allow(ruleset, path, (WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV) & every)
    _allow(ruleset, given["write"], every & ~(MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    drop_capabilities(every_capability())  # root's: Landlock leaves loading modules and rebooting as they are
    call("syscall", RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
    refuse_sockets()
    for name, most in given["limits"].items():
        which = getattr(resource, f"RLIMIT_{name.upper()}")
        hard = resource.getrlimit(which)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (most, most))


def _ruleset(version: int) -> int:
    """A new ruleset that handles all that the ABI can; its structure grew with the ABI."""
    attributes = struct.pack("=Q", rights(version))
    if version >= NET_ABI:
        attributes += struct.pack("=Q", TCP)
    if version >= SCOPE_ABI:
        attributes += struct.pack("=Q", SCOPES)
    return call("syscall", CREATE_RULESET, attributes, len(attributes), 0)


def _allow(ruleset: int, path: str, wanted: int) -> None:
    """Allow `wanted` beneath a path; one that is not there needs no rule."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not os.path.isdir(path):
            wanted &= TO_FILES
        call("syscall", ADD_RULE, ruleset, PATH_BENEATH, struct.pack("=Qi", wanted, descriptor), 0)
    finally:
        os.close(descriptor)


def refuse_sockets() -> None:
    """Refuse socket(2) and io_uring by seccomp from now on; socketpair(2), which leads nowhere, stays."""
    machine = os.uname().machine
    if machine not in PROCESSORS:
        raise OSError(errno.ENOSYS, f"no network filter for {machine}; known are {', '.join(PROCESSORS)}")
    architecture, socket = PROCESSORS[machine]
    program = [
        (LOAD, 0, 0, 4),  # struct seccomp_data: the processor
        (EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL),  # a call from the table of another processor, where the numbers mean others
        (LOAD, 0, 0, 0),  # the call's number
        (AT_LEAST, 3, 0, X32),
        (EQUAL, 2, 0, socket),
        (EQUAL, 1, 0, IO_URING_SETUP),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
    ]
    _filter(program)


def _filter(program: Iterable[tuple[int, int, int, int]]) -> None:
    code = b"".join(struct.pack("=HBBI", *one) for one in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    prctl(PR_SET_SECCOMP, FILTER_MODE, struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer)))
