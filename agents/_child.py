"""Run a child of a job: its output in the try's folder, its progress lines passed on, its end told exactly."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bus import files

TAIL_LINES = 40  # of a child's output that an error carries: a traceback and what led to it
PR_SET_CHILD_SUBREAPER = 36  # <sys/prctl.h>
LOOK_S = 0.1  # how often a child's output is looked at for progress
STOP_GRACE_S = 12.0  # from SIGTERM to SIGKILL; a trainer's checkpoint takes up to 10 s
MAX_TAIL = 65536  # bytes of output that are read for the tail
Heard = Callable[[str, dict[str, float]], object]  # is told what a child says, and the numbers beside it


class ChildFailed(Exception):
    """A child that did not exit 0: `exit` or `signal` (a name), and its last lines."""

    def __init__(self, name: str, exit: int | None, signal: str | None, last_lines: list[str]) -> None:
        self.exit, self.signal, self.last_lines = exit, signal, last_lines
        how = f"was ended by {signal}" if signal else f"ended with exit {exit}"
        last = next((line.strip() for line in reversed(last_lines) if line.strip()), "it printed nothing")
        super().__init__(f"{name} {how}: {last}")


class Lines:
    """New whole lines of a growing file that another process writes."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115  # read on until the child has ended
        self._rest = b""

    def new(self) -> list[str]:
        data = self._rest + (self._file.read() or b"")
        *lines, self._rest = data.split(b"\n")
        return [line.decode("utf-8", "replace") for line in lines]

    def close(self) -> None:
        self._file.close()


def run(
    argv: Sequence[str],
    output: Path,
    *,
    name: str,
    cwd: Path,
    env: dict[str, str],
    pass_fds: tuple[int, ...],
    before: Sequence[str] = (),
    heard: Heard,
) -> None:
    """Run `argv` to its end, its stdout and stderr appended to `output`; raises ChildFailed.

    `before` are the words of a program that runs it and ends as it does, and is not told of. Of a line of output that
    is a JSON object whose "say" is a text, that and the line's numbers go to `heard`. Whatever ends the wait (a stop,
    an error) first ends the child: SIGTERM, then SIGKILL after the grace.
    """
    others, child = _children(), None
    with open(output, "ab") as sink, contextlib.closing(Lines(output)) as lines:
        sink.write(f"$ {shlex.join(argv)}\n".encode())
        sink.flush()
        try:  # a stop may arrive at any of these lines
            child = subprocess.Popen(
                [*before, *argv],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                cwd=cwd,
                env=env,
                pass_fds=pass_fds,
            )
            _wait(child, lines, heard)
        finally:
            _end(child, others)
    if child.returncode:
        by = signal.Signals(-child.returncode).name if child.returncode < 0 else None
        raise ChildFailed(name, None if by else child.returncode, by, tail(output))


def _wait(child: subprocess.Popen[bytes], lines: Lines, heard: Heard) -> None:
    ended = os.pidfd_open(child.pid)
    end = select.poll()  # not select(), which refuses a descriptor past 1,023
    end.register(ended, select.POLLIN)
    try:
        while not end.poll(1000 * LOOK_S):
            _pass_on(lines, heard)
        _pass_on(lines, heard)
    finally:
        os.close(ended)


def _pass_on(lines: Lines, heard: Heard) -> None:
    for line in lines.new():
        if line.startswith("{") and (said := _said(line)):
            heard(*said)


def _said(line: str) -> tuple[str, dict[str, float]] | None:
    """What a line of output says, and its numbers, such as 64 bits hold; None of any other line, which the log has."""
    with contextlib.suppress(ValueError, RecursionError):
        document = json.loads(line)
        if isinstance(text := document.pop("say", None), str):
            numbers = {key: one for key, one in document.items() if isinstance(one, int | float) and abs(one) < 2**63}
            return files.readable(text), files.readable(numbers)
    return None


def adopt() -> None:
    """Make this process the parent of what its children leave behind, so that `_end` can find and end it."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _children() -> set[int]:
    return {int(one) for one in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def _end(child: subprocess.Popen[bytes] | None, others: set[int]) -> None:
    """End a child and, where `adopt` was called, all that it left running; `others` are none of its own."""
    if child is not None and child.poll() is None:
        child.terminate()
        try:
            child.wait(STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    while strays := _children() - others:  # a commit waits until every child of the try has ended
        for pid in strays:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def tail(path: Path) -> list[str]:
    """The last lines of a text file, at most TAIL_LINES."""
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - MAX_TAIL))
        return file.read().decode("utf-8", "replace").splitlines()[-TAIL_LINES:]


def clock() -> tuple[float, float]:
    """(wall, CPU) seconds so far; CPU counts this process and its ended children."""
    times = os.times()
    return time.monotonic(), times.user + times.system + times.children_user + times.children_system
