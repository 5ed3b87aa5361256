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
HEALTHY_S = 60.0  # a program that lived this long, or got something `done` by its beat, starts with a clean slate
# Seconds before restarts in a row; after them the program is given up. More than two poison requests need to die.
BACK_OFF_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, *(30.0,) * 6)
GRACE_S = 15.0  # from SIGTERM to SIGKILL: a trainer writes its checkpoint in that time
KILL_S = 5.0  # what was killed may need a moment to end, on a busy machine or in a slow system call
TICK_S = 0.5
_PIPE = 65536  # bytes that a pipe holds, so that one read takes all


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
    in_a_row: int = 0
    restarts: int = 0
    due: float = 0.0
    given_up: str = ""


class Supervisor:
    """Keeps `programs` alive until `tick` returns True or `stop()` is called.

    `tick(children)` runs at least every half second; `log(event, **facts)` receives what happens.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        tick: Callable[[dict[str, Child]], bool],
        log: Callable[..., None],
        *,
        silent_s: float = SILENT_S,
        back_off_s: Sequence[float] = BACK_OFF_S,
        grace_s: float = GRACE_S,
    ) -> None:
        self.children = {program.name: Child(program) for program in programs}
        self.tick, self.log = tick, log
        self.silent_s, self.back_off_s, self.grace_s = silent_s, back_off_s, grace_s
        self.stopping = False
        self._ending: dict[int, float] = {}  # process group -> when what is left of it is killed
        self._poll = select.poll()
        self._by_fd: dict[int, tuple[Callable[[Child], None], Child]] = {}
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
                    self._end_if_hung(child)
                self._kill_late()
                if self.tick(self.children):
                    break
                now = time.monotonic()
                waits = [one.due - now for one in self.children.values() if not one.process and not one.given_up]
                self._wait(max(0.0, min([TICK_S, *waits])))
        finally:
            self._stop_all()

    def _start_if_due(self, child: Child) -> None:
        if child.process or child.given_up or time.monotonic() < child.due:
            return
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        env = {**(os.environ if child.program.env is None else child.program.env), BEAT_FD: str(write)}
        child.started = child.heard = time.monotonic()
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
        child.pipe, child.pidfd, child.beat = read, os.pidfd_open(child.process.pid), {}
        self._by_fd[child.pipe], self._by_fd[child.pidfd] = (self._hear, child), (self._bury, child)
        for descriptor in (child.pipe, child.pidfd):
            self._poll.register(descriptor, select.POLLIN)
        self.log("started", program=child.program.name, restarts=child.restarts)

    def _wait(self, seconds: float) -> None:
        for descriptor, _ in self._poll.poll(seconds * 1000):
            if descriptor == self._wake_r:
                os.read(self._wake_r, 4096)
            elif descriptor in self._by_fd:  # else closed while this round of events was worked through
                react, child = self._by_fd[descriptor]
                react(child)

    def _hear(self, child: Child) -> None:
        data = os.read(child.pipe, _PIPE)
        if not data:  # the program closed it; its death follows, or it is silent from now on
            self._forget(child.pipe)
            return
        child.heard = time.monotonic()
        with contextlib.suppress(ValueError):
            beat = json.loads(data.splitlines()[-1])  # whole: each beat was written in one piece
            if isinstance(beat, dict):
                child.beat = beat

    def _forget(self, descriptor: int) -> None:
        if self._by_fd.pop(descriptor, None):
            self._poll.unregister(descriptor)
            os.close(descriptor)

    def _bury(self, child: Child) -> None:
        assert child.process is not None
        code, group = child.process.wait(), child.process.pid
        self._forget(child.pipe)
        self._forget(child.pidfd)
        if child.beat.get("done"):  # it got on: killed however often, it is not what ends its work
            child.in_a_row = 0
        child.process, child.beat = None, {}
        self._end_group(group)  # its children, if any, may end by themselves first
        self._after_death(child, f"ended: {signal.Signals(-code).name if code < 0 else f'exit {code}'}")

    def _after_death(self, child: Child, how: str) -> None:
        now = time.monotonic()
        if now - child.started >= HEALTHY_S:
            child.in_a_row = 0
        if child.in_a_row >= len(self.back_off_s):
            child.given_up = f"{how}, {child.in_a_row + 1} times in a row; not started again"
            self.log("given up", program=child.program.name, why=child.given_up)
            return
        wait = self.back_off_s[child.in_a_row]
        child.in_a_row, child.restarts, child.due = child.in_a_row + 1, child.restarts + 1, now + wait
        self.log("ended", program=child.program.name, how=how, restart_in_s=wait)

    def _end_if_hung(self, child: Child) -> None:
        """Kill a program that is silent, or too long at one claim; its children hear SIGTERM once it is buried."""
        if not child.process:
            return
        silence, claim = time.monotonic() - child.heard, child.beat.get("claim")
        if silence > self.silent_s:
            why = f"no beat for {self.silent_s:.0f} s"
        elif claim and float(child.beat.get("age_s") or 0.0) + silence > child.program.minutes * 60:
            why = f"a claim older than {child.program.minutes:g} minutes"
        else:
            return
        self.log("hung", program=child.program.name, why=why, claim=claim)
        child.process.kill()  # a death, not a stop: a request that hangs its agent each time is given up
        self._bury(child)

    def _end_group(self, group: int) -> None:
        """SIGTERM to a process group, and after the grace SIGKILL to what is left of it."""
        if _signal_group(group, signal.SIGTERM):
            _signal_group(group, signal.SIGCONT)  # a stopped process hears SIGTERM only once it goes on
            self._ending[group] = time.monotonic() + self.grace_s

    def _kill_late(self) -> None:
        now = time.monotonic()
        for group, when in list(self._ending.items()):
            if now >= when:
                _signal_group(group, signal.SIGKILL)
            if not _signal_group(group, 0) or now >= when + KILL_S:
                del self._ending[group]

    def _stop_all(self) -> None:
        """End every group; returns when nothing is left."""
        living = [(child, child.process) for child in self.children.values() if child.process]
        for _, process in living:
            self._end_group(process.pid)
        while self._ending:
            time.sleep(0.02)
            for _, process in living:
                process.poll()
            self._kill_late()
        for child, _ in living:
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
