"""One child under ptrace: let it run to its next system call, read its memory, change its registers, kill it.

x86_64 and aarch64, by ctypes alone. See ptrace(2); the numbers are those of <linux/ptrace.h> and <linux/elf.h>.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
from typing import Any

MACHINE = platform.machine()
ENTRY, EXIT = 1, 2  # PTRACE_SYSCALL_INFO_*: the stop before a call, and the one after it
_TRACEME, _CONT, _SYSCALL, _SETOPTIONS, _GETREGSET, _SETREGSET, _SYSCALL_INFO = 0, 7, 24, 0x4200, 0x4204, 0x4205, 0x420E
_OPTIONS = 0x1 | 0x100000  # PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL
_TRAP = signal.SIGTRAP | 0x80  # how PTRACE_O_TRACESYSGOOD marks the stops at system calls
_WALL = 0x40000000  # __WALL of waitpid(2)
_INFO = struct.Struct(
    "=B3xIQQQ6Q"
)  # struct ptrace_syscall_info: stop, machine, two addresses, number or result, arguments
_PRSTATUS, _ARM_CALL = 1, 0x404  # sets of registers
_WORD = 2**64 - 1
# 64-bit words of the registers, and which of them are a call's number (None: a set of its own), result, third argument
_REGISTERS = {"x86_64": (27, 15, 10, 12), "aarch64": (34, None, 0, 2)}
NUMBER, RESULT, THIRD = 0, 1, 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


class NotPermitted(Exception):
    """This machine does not let a process trace its child; one line says why."""


def be_traced() -> None:
    """In the child: let the parent trace this process, and stop until it does."""
    if MACHINE not in _REGISTERS:
        raise NotPermitted(f"no registers are known for {MACHINE}")
    if _libc.ptrace(_TRACEME, 0, None, None) < 0:
        raise NotPermitted(f"a process may not be traced here: {os.strerror(ctypes.get_errno())}")
    stop()


def stop() -> None:
    """In the child: here the traced part begins, or ends."""
    os.kill(os.getpid(), signal.SIGSTOP)


class Child:
    """The parent's side of one traced child, from its first `stop()`."""

    def __init__(self, pid: int) -> None:
        self.pid, self.alive = pid, True
        self._info = ctypes.create_string_buffer(_INFO.size)
        self._wait()
        if self.alive:
            self._ptrace(_SETOPTIONS, 0, _OPTIONS)

    def go(self) -> tuple[int, int, tuple[int, ...]] | None:
        """Run to the next stop: (ENTRY, number, arguments) or (EXIT, result, …); None where the traced part ends."""
        given = 0
        while self.alive:
            self._ptrace(_SYSCALL, 0, given)
            given = self._wait()
            if self.alive and given == _TRAP:
                self._ptrace(_SYSCALL_INFO, _INFO.size, self._info)
                kind, _, _, _, value, *arguments = _INFO.unpack(self._info.raw)
                return kind, value if kind == ENTRY or value < 2**63 else value - 2**64, tuple(arguments)
            if self.alive and given == signal.SIGSTOP:
                self._ptrace(_CONT, 0, 0)
                self._wait()
        return None

    def set(self, which: int, value: int) -> int:
        """Change the stopped call's NUMBER, RESULT or THIRD argument; the old value."""
        words, *places = _REGISTERS[MACHINE]
        place = places[which]
        size, kind, code = (4, _ARM_CALL, "=I") if place is None else (8 * words, _PRSTATUS, "=Q")
        buffer = ctypes.create_string_buffer(size)
        vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), size)  # struct iovec
        self._ptrace(_GETREGSET, kind, vector)
        (old,) = struct.unpack_from(code, buffer, 8 * (place or 0))
        struct.pack_into(code, buffer, 8 * (place or 0), value & (_WORD if place is not None else _WORD >> 32))
        self._ptrace(_SETREGSET, kind, vector)
        return int(old)

    def kill(self) -> None:
        """End the child at once; a call that it was about to begin is not run."""
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)
            while self.alive:
                self._wait()

    def link(self, name: str) -> str:
        """Where a link in the child's folder of /proc leads: `cwd`, `fd/3`."""
        try:
            return os.readlink(f"/proc/{self.pid}/{name}")
        except OSError:
            return f"({name}: not open)"

    def memory(self, address: int, size: int) -> bytes:
        """Bytes of the child's memory, as far as there are any."""
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as file:
            file.seek(address)
            return file.read(size)

    def text(self, address: int) -> str:
        """A path in the child's memory; it may end just before memory that is not there."""
        page, found = os.sysconf("SC_PAGE_SIZE"), b""
        while address and b"\0" not in found:
            at = address + len(found)
            found += self.memory(at, page - at % page)
        return os.fsdecode(found.partition(b"\0")[0])

    def _wait(self) -> int:
        """Wait for a stop or the end of the child; the signal that it stopped for, or 0."""
        _, status = os.waitpid(self.pid, _WALL)
        self.alive = os.WIFSTOPPED(status)
        return os.WSTOPSIG(status) if self.alive else 0

    def _ptrace(self, request: int, address: int, data: Any) -> None:
        if _libc.ptrace(request, self.pid, address, data) < 0:
            raise NotPermitted(f"ptrace request {request:#x}: {os.strerror(ctypes.get_errno())}")
