"""Spawn programs, restart what dies, end what hangs, stop all. It knows programs, not agents.

Every program leads a process group of its own and holds the write end of a pipe: its beats come in by it (JSON
lines), and its closing tells the program that the supervisor is gone. So neither side needs a pid of the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

BEAT_FD = "MAILROOM_BEAT_FD"  # names the pipe's descriptor in a program's environment
SILENT_S = 60.0  # a program that has not beaten for this long is hung; programs beat every second
HEALTHY_S = 60.0  # a program that lived this long starts with a clean slate
BACK_OFF_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # waits before restarts in a row; then the program is given up
STOP_GRACE_S = 15.0  # from SIGTERM to SIGKILL: a trainer writes its checkpoint in that time
ORPHAN_GRACE_S = 10.0  # what is left of the group of a program that died has this long to end itself
TICK_S = 0.5
_MAX_LINE = 65536


@dataclass(frozen=True)
class Program:
    """One program to keep alive. `minutes`: the longest that one claim may take."""

    name: str
    argv: Sequence[str]
    minutes: float = 60.0
    env: Mapping[str, str] | None = None


@dataclass
class Child:
    """A program as it runs now: its process, its last beat, its restarts in a row."""

    program: Program
    process: subprocess.Popen[bytes] | None = None
    pidfd: int = -1
    pipe: int = -1
    started: float = 0.0
    heard: float = 0.0
    beat: dict[str, Any] = field(default_factory=dict)
    rest: bytes = b""
    in_a_row: int = 0
    restarts: int = 0
    due: float = 0.0
    given_up: str = ""
    ending: float = 0.0  # when SIGKILL follows the SIGTERM that was sent; 0: none was


class Supervisor:
    """Keeps `programs` alive until `tick` returns True or `stop()` is called.

    `tick(children)` runs at least every half second; `log(event, **facts)` receives what happens.
    """

    def __init__(
        self, programs: Sequence[Program], tick: Callable[[dict[str, Child]], bool], log: Callable[..., None]
    ) -> None:
        self.children = {program.name: Child(program) for program in programs}
        self.tick, self.log = tick, log
        self.stopping = False
        self._orphans: list[tuple[int, float]] = []  # (process group, when it is killed)
        self._poll = select.poll()
        self._by_fd: dict[int, tuple[str, Child]] = {}
        self._wake_r, self._wake_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll.register(self._wake_r, select.POLLIN)

    def stop(self, *_: object) -> None:
        """End the loop; safe in a signal handler."""
        self.stopping = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_w, b"s")

    def run(self) -> None:
        """The loop; on return every program and its group has ended."""
        try:
            while not self.stopping:
                for child in self.children.values():
                    self._start_if_due(child)
                self._end_hung()
                self._reap_orphans()
                if self.tick(self.children):
                    break
                self._wait(self._next())
        finally:
            self._stop_all()

    def _next(self) -> float:
        now = time.monotonic()
        waits = [one.due - now for one in self.children.values() if not one.process and not one.given_up]
        return max(0.0, min([TICK_S, *waits]))

    def _start_if_due(self, child: Child) -> None:
        if child.process or child.given_up or time.monotonic() < child.due:
            return
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        env = {**(os.environ if child.program.env is None else child.program.env), BEAT_FD: str(write)}
        try:
            child.process = subprocess.Popen(
                list(child.program.argv), env=env, pass_fds=[write], stdin=subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:
            os.close(read)
            self._after_death(child, f"cannot be started: {error}")
            return
        finally:
            os.close(write)
        child.pipe, child.pidfd = read, os.pidfd_open(child.process.pid)
        child.started = child.heard = time.monotonic()
        child.beat, child.rest, child.ending = {}, b"", 0.0
        for descriptor, kind in ((child.pipe, "pipe"), (child.pidfd, "pid")):
            self._by_fd[descriptor] = (kind, child)
            self._poll.register(descriptor, select.POLLIN)
        self.log("started", program=child.program.name, restarts=child.restarts)

    def _wait(self, seconds: float) -> None:
        for descriptor, _ in self._poll.poll(seconds * 1000):
            if descriptor == self._wake_r:
                os.read(self._wake_r, 4096)
                continue
            if descriptor in self._by_fd:  # else closed while this round of events was worked through
                kind, child = self._by_fd[descriptor]
                (self._hear if kind == "pipe" else self._bury)(child)

    def _hear(self, child: Child) -> None:
        try:
            data = os.read(child.pipe, _MAX_LINE)
        except BlockingIOError:
            return
        if not data:  # the program closed it; its death follows, or it is silent from now on
            self._forget(child.pipe)
            child.pipe = -1
            return
        child.heard = time.monotonic()
        *lines, child.rest = (child.rest + data)[-_MAX_LINE:].split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError):
                beat = json.loads(line)
                if isinstance(beat, dict):
                    child.beat = beat

    def _forget(self, descriptor: int) -> None:
        if descriptor in self._by_fd:
            del self._by_fd[descriptor]
            self._poll.unregister(descriptor)
            os.close(descriptor)

    def _bury(self, child: Child) -> None:
        assert child.process is not None
        code = child.process.wait()
        self._orphans.append((child.process.pid, time.monotonic() + ORPHAN_GRACE_S))
        self._forget(child.pipe)
        self._forget(child.pidfd)
        child.process, child.pipe, child.pidfd, child.beat = None, -1, -1, {}
        how = signal.Signals(-code).name if code < 0 else f"exit {code}"
        self._after_death(child, f"ended: {how}")

    def _after_death(self, child: Child, how: str) -> None:
        now = time.monotonic()
        if child.started and now - child.started >= HEALTHY_S:
            child.in_a_row = 0
        if child.in_a_row >= len(BACK_OFF_S):
            child.given_up = f"{how}, {child.in_a_row + 1} times in a row; not started again"
            self.log("given up", program=child.program.name, why=child.given_up)
            return
        wait = BACK_OFF_S[child.in_a_row]
        child.in_a_row, child.restarts, child.due = child.in_a_row + 1, child.restarts + 1, now + wait
        self.log("ended", program=child.program.name, how=how, restart_in_s=wait)

    def _end_hung(self) -> None:
        now = time.monotonic()
        for child in self.children.values():
            if not child.process:
                continue
            age = float(child.beat.get("age_s") or 0.0) + now - child.heard if child.beat.get("claim") else 0.0
            if child.ending:
                if now >= child.ending:
                    _signal_group(child.process.pid, signal.SIGKILL)
            elif now - child.heard > SILENT_S or age > child.program.minutes * 60:
                silent = now - child.heard > SILENT_S
                why = (
                    f"no beat for {SILENT_S:.0f} s" if silent else f"a claim older than {child.program.minutes} minutes"
                )
                self.log("hung", program=child.program.name, why=why, claim=child.beat.get("claim"))
                _signal_group(child.process.pid, signal.SIGTERM)
                child.ending = now + (0.0 if silent else STOP_GRACE_S)

    def _reap_orphans(self) -> None:
        now = time.monotonic()
        waiting = []
        for group, when in self._orphans:
            if not _signal_group(group, 0):
                continue
            if now >= when:
                _signal_group(group, signal.SIGKILL)
            else:
                waiting.append((group, when))
        self._orphans = waiting

    def _stop_all(self) -> None:
        """SIGTERM to every group, SIGKILL to what is left after the grace; returns when nothing is left."""
        living = [child for child in self.children.values() if child.process]
        groups = [child.process.pid for child in living if child.process] + [group for group, _ in self._orphans]
        for group in groups:
            _signal_group(group, signal.SIGTERM)
            _signal_group(group, signal.SIGCONT)  # a stopped process hears SIGTERM only once it goes on
        end = time.monotonic() + STOP_GRACE_S
        while groups and time.monotonic() < end:
            for child in living:
                if child.process:
                    child.process.poll()
            groups = [group for group in groups if _signal_group(group, 0)]
            time.sleep(0.02 if groups else 0)
        for group in groups:
            _signal_group(group, signal.SIGKILL)
        for child in living:
            if child.process:
                child.process.wait()
                self._forget(child.pipe)
                self._forget(child.pidfd)
                child.process = None


def _signal_group(group: int, number: int) -> bool:
    """Signal a process group; False if it has no living member."""
    try:
        os.killpg(group, number)
        return True
    except (ProcessLookupError, PermissionError):
        return False
