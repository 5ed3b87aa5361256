"""A process that stops itself before one of its calls on files, and goes on when it is told to: every interleaving.

The calls are those that Python's audit events name: open, link, rename, unlink, mkdir, rmdir, chmod, listings, locks.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from tests.crash.storm_processes import fork

CALLS = frozenset(
    "open os.link os.rename os.remove os.mkdir os.rmdir os.chmod os.listdir os.scandir fcntl.fcntl".split()
)


def started(number: int, job: Callable[..., Any], *arguments: Any) -> int:
    """The pid of a process that does `job(*arguments)` and stops itself before the `number`-th call; 0: never.

    `job` calls the function that it gets first once the calls are to be counted.
    """

    def run() -> None:
        left = number

        def hook(event: str, _: Any) -> None:
            nonlocal left
            if event in CALLS:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGSTOP)

        job(lambda: sys.addaudithook(hook) if number else None, *arguments)

    return fork(run)


def stopped(pid: int) -> bool:
    """Wait until a process stops itself or ends: True, or False; raises RuntimeError if it failed."""
    status = os.waitpid(pid, os.WUNTRACED)[1]
    if os.WIFSTOPPED(status):
        return True
    if status:
        raise RuntimeError(f"a process ended with {os.waitstatus_to_exitcode(status)}; its traceback is above")
    return False


def go_on(pid: int) -> None:
    """Let a stopped process go on, to its end."""
    os.kill(pid, signal.SIGCONT)
    if stopped(pid):
        raise RuntimeError("it stopped a second time")
