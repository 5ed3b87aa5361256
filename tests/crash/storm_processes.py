"""Processes of the storms: started apart, stopped and killed at random moments, and none left over."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE_S = 60.0  # for what takes a second on a quiet machine
PR_SET_CHILD_SUBREAPER = 36  # <sys/prctl.h>
LOOK_S = 0.005


def fork(job: Callable[..., Any], *arguments: Any) -> int:
    """Run `job(*arguments)` in a child; its traceback goes to stderr, and its exit code is then 1."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            job(*arguments)
            code = 0
        finally:
            if code:
                os.write(2, traceback.format_exc().encode())
            os._exit(code)
    return pid


def apart(job: Callable[..., Any], *arguments: Any) -> Any:
    """The result of `job(*arguments)`, as JSON, from a child that gets every orphan below it and leaves none alive.

    Raises RuntimeError with the names of what it had to kill, or if the job failed.
    """
    read, write = os.pipe()

    def run() -> None:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            result = job(*arguments)
            left = [name for pid in children(os.getpid()) if (name := command(pid))]
        finally:
            clear()
        os.write(write, json.dumps({"result": result, "left": left}).encode())

    pid = fork(run)
    os.close(write)
    with open(read, "rb") as file:
        data = file.read()
    if (status := os.waitpid(pid, 0)[1]) or not data:
        raise RuntimeError(f"{job.__name__}: ended with {os.waitstatus_to_exitcode(status)}; its traceback is above")
    answer = json.loads(data)
    if answer["left"]:
        raise RuntimeError(f"{job.__name__}: processes were left over: {answer['left']}")
    return answer["result"]


def clear() -> None:
    """Kill and bury every child, and what they leave to this process, until there is none."""
    while True:
        for pid in children(os.getpid()):
            os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def reap() -> list[tuple[int, int]]:
    """(pid, exit code) of every child that has ended; a signal is negative."""
    ended = []
    with contextlib.suppress(ChildProcessError):
        while (one := os.waitpid(-1, os.WNOHANG))[0]:
            ended.append((one[0], os.waitstatus_to_exitcode(one[1])))
    return ended


def children(pid: int) -> list[int]:
    """The children of a process, zombies too; none of one that is gone."""
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def state(pid: int) -> str:
    """The letter of a process's state: R, S, T, Z…; "" of one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def command(pid: int) -> str:
    """The command line of a process; "" of one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def holds(pid: int, inbox: Path) -> set[str]:
    """The IDs of a mailbox whose lock a process holds, as the kernel tells it."""
    found, root = set(), f"{inbox.resolve()}/"
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        for number in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                target = os.readlink(f"/proc/{pid}/fd/{number}")
                if target.startswith(root) and "lock:" in Path(f"/proc/{pid}/fdinfo/{number}").read_text():
                    found.add(Path(target.removesuffix(" (deleted)")).stem)
    return found


def has_files(pid: int) -> bool:
    """True until a process begins to end: the kernel closes its files, and so drops its locks, a moment before that."""
    try:
        return bool(os.listdir(f"/proc/{pid}/fd"))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False


def freeze(pid: int) -> None:
    """Stop a process where it is, so that what it holds can be read before it is killed."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        wait(lambda: state(pid) in ("T", "Z", "X", ""), f"{pid} stops")


def kill(pid: int) -> bool:
    """SIGKILL, and wait until the kernel has closed all that the process held; False if it had ended before."""
    try:
        ended = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        alive = state(pid) not in ("Z", "X", "")
        signal.pidfd_send_signal(ended, signal.SIGKILL)
        select.select([ended], [], [], PATIENCE_S)
        return alive
    except ProcessLookupError:
        return False
    finally:
        os.close(ended)


def wait(condition: Callable[[], object], what: str | Callable[[], str], patience_s: float = PATIENCE_S) -> None:
    """Wait until `condition()` is true; raises TimeoutError that says what was waited for."""
    end = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > end:
            told = what if isinstance(what, str) else what()
            raise TimeoutError(f"still not so after {patience_s:.0f} s: {told}")
        time.sleep(LOOK_S)
