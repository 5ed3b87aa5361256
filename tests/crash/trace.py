"""Step a job from system call to system call, and kill it, or break its disk, at any one of them.

    def job(note):                      in a forked child, not traced yet: opens what it needs
        box = Mailbox(folder)
        return lambda: note(box.put("r1", document))    this part is traced; of two, the second is not

    calls(job)                          runs it to its end; .calls has every system call, .counted those on files
    kill_at(job, stop)                  killed dead at stop 2N (before counted call N) or 2N + 1 (after it)
    fail_at(job, number, errno)         counted call N is not run and answers -errno
    short_at(job, number, count)        counted call N, a write, writes `count` bytes at most
    … refuse=function(call) -> errno    beside that, what the file system lacks: such calls are not run and fail

`note(x)` hands a JSON value to the parent at once: what was noted before a kill is known after it. Its calls are
neither counted nor listed. Whoever traces must have one thread, and must have done such a job before, so that nothing
is imported or cached for the first time under the trace. What the child forks is not traced.
Needs Linux 5.3 and the right to trace a child; raises NotPermitted where it has not.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.crash.trace_calls import BY_NUMBER, WRITES
from tests.crash.trace_child import ENTRY, NUMBER, RESULT, THIRD, Child, NotPermitted, be_traced, stop

Note = Callable[[Any], None]
Act = Callable[[], object]
Job = Callable[[Note], Act | tuple[Act, Act]]
Refuse = Callable[["Call"], int]  # the errno with which a call on files fails, or 0 where it may run

_AT_FDCWD = 0xFFFFFFFF - 99  # -100, as the low half of a register
_MAX_DATA = 1 << 20  # bytes of a write that are kept; the bus writes no more at a time in these tests


@dataclass
class Call:
    """One system call. `number` counts those that touch files, from 0; it is None for all others."""

    name: str
    arguments: tuple[int, ...]
    number: int | None = None
    result: int | None = None  # -errno of a failure; None before its end
    kinds: str = ""  # of its arguments, see trace_calls
    paths: tuple[str, ...] = ()  # the files that it names, absolute, in the order of its arguments
    data: bytes = b""  # what a write writes

    def __str__(self) -> str:
        end = "" if self.result is None else f" = {self.result}"
        if self.result is not None and self.result < 0:
            end = f" = {errno.errorcode.get(-self.result, self.result)}"
        return f"{self.name}({', '.join(self.paths)}){end}"


@dataclass
class Ended:
    """How a traced job ended: its calls, what it noted, the traceback it ended with, the call that was meddled with."""

    calls: list[Call] = field(default_factory=list)
    notes: list[Any] = field(default_factory=list)
    error: str = ""
    at: Call | None = None

    @property
    def counted(self) -> list[Call]:
        return [call for call in self.calls if call.number is not None]


def nothing(call: Call) -> int:
    """Refuse nothing."""
    return 0


def calls(job: Job, refuse: Refuse = nothing) -> Ended:
    """Run a job to its end; every system call is listed, those on files with their paths and bytes."""
    with Traced(job, refuse) as traced:
        found = [traced.describe(call) for call in traced.run() if call.result is None]
        return traced.ended(found)


def kill_at(job: Job, stop: int, refuse: Refuse = nothing) -> Ended | None:
    """Kill the job at a stop; None if it ended before that."""
    with Traced(job, refuse) as traced:
        for call in traced.run():
            if call.number is not None and 2 * call.number + (call.result is not None) == stop:
                traced.describe(call)
                traced.child.kill()
                return traced.ended(at=call)
        if error := traced.ended().error:  # of the job's own: nobody else would see it
            raise AssertionError(error)
        return None


def fail_at(job: Job, number: int, code: int, refuse: Refuse = nothing) -> Ended:
    """Run a job to its end; counted call `number` answers -code. `.at` is None if there was no such call."""
    ended = calls(job, lambda call: code if call.number == number else refuse(call))
    ended.at = next((call for call in ended.counted if call.number == number), None)
    return ended


def short_at(job: Job, number: int, count: int, refuse: Refuse = nothing) -> Ended:
    """Run a job to its end; counted call `number`, a write, writes at most `count` bytes."""
    with Traced(job, refuse) as traced:
        found = []
        for call in traced.run():
            if call.result is None:
                found.append(traced.describe(call))
                if call.number == number:
                    traced.shorten(call, count)
        at = next((call for call in found if call.number == number), None)
        return traced.ended(found, at)


def why_not() -> str:
    """Why nothing can be traced here, in one line; "" where it can."""
    try:
        ended = calls(lambda note: lambda: os.close(os.open("/", os.O_RDONLY)))
    except NotPermitted as error:
        return str(error)
    return "" if [call.name for call in ended.counted] == ["openat", "close"] else "system calls are not reported"


class Traced:
    """A job in a forked child, stopped where its traced part begins; a context manager, at whose end it is dead."""

    def __init__(self, job: Job, refuse: Refuse) -> None:
        self.refuse = refuse
        self.notes = os.memfd_create("notes")  # outlives the child, and never fills up
        pid = os.fork()
        if pid == 0:
            _do(job, self.notes)
        self.child = Child(pid)
        self._result: int | None = None  # what a call is to answer
        self._third: int | None = None  # the third argument of a call that was given another

    def __enter__(self) -> Traced:
        if not self.child.alive:
            error = self.ended().error
            self.__exit__()
            why = error.strip().rpartition("NotPermitted: ")[2]
            raise AssertionError(error) if why == error.strip() else NotPermitted(why)
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        os.close(self.notes)

    def run(self) -> Iterator[Call]:
        """The job's calls, each twice: before it, while its `result` is None, and after it."""
        count, call = 0, None
        while (stopped := self.child.go()) is not None:
            kind, value, arguments = stopped
            if kind == ENTRY:
                call = Call(f"call-{value}", arguments)
                if known := BY_NUMBER.get(value):
                    if arguments[0] == self.notes and known.name == "write":
                        call = None
                        continue
                    call.name, call.kinds, call.number, count = known.name, known.kinds, count, count + 1
                    if code := self.refuse(call):
                        self.fail(call, code)
                yield call
            elif call is not None:
                call.result = self._finish(value)
                yield call

    def describe(self, call: Call) -> Call:
        """Fill in what a call names and writes, while the child is stopped at it."""
        start, paths = "", []
        for kind, value in zip(call.kinds, call.arguments, strict=False):
            if kind == "p":
                paths.append(os.path.normpath(os.path.join(start or self.child.link("cwd"), self.child.text(value))))
                start = ""
            elif kind == "f":
                paths.append(self.child.link(f"fd/{value}"))
            elif kind == "d":
                start = "" if value & 0xFFFFFFFF == _AT_FDCWD else self.child.link(f"fd/{value}")
        call.paths = tuple(paths)
        if call.name in WRITES:
            call.data = self.child.memory(call.arguments[1], min(call.arguments[2], _MAX_DATA))
        return call

    def fail(self, call: Call, code: int) -> None:
        """Before a call: let it answer -code. It is not run, except for `close`, which closes even if it fails."""
        if call.name != "close":
            self.child.set(NUMBER, -1)
        self._result = -code

    def shorten(self, call: Call, count: int) -> None:
        """Before a write: let it write at most `count` bytes."""
        assert call.name in WRITES, f"{call.name} writes nothing"
        self._third = self.child.set(THIRD, count)

    def _finish(self, result: int) -> int:
        """After a call: its result, once what was done to it is put right."""
        if self._third is not None:  # a caller may rely on its arguments staying in their registers
            self.child.set(THIRD, self._third)
        if self._result is not None:
            self.child.set(RESULT, result := self._result)
        self._third = self._result = None
        return result

    def ended(self, calls: list[Call] | None = None, at: Call | None = None) -> Ended:
        """What the child noted until now, and the traceback that it left."""
        lines = [json.loads(line) for line in os.pread(self.notes, os.fstat(self.notes).st_size, 0).splitlines()]
        errors = [line["traceback"] for line in lines if isinstance(line, dict) and "traceback" in line]
        return Ended(calls or [], lines[: len(lines) - len(errors)], "".join(errors), at)


def _do(job: Job, notes: int) -> None:
    """In the child: prepare, let the parent trace, do the job, say how it went. Does not return."""

    def note(value: Any) -> None:
        os.write(notes, json.dumps(value).encode() + b"\n")

    gc.disable()  # or a collection would close files in the middle of it
    try:
        act, *after = acts if isinstance(acts := job(note), tuple) else (acts,)
        be_traced()
        try:
            act()
        finally:
            stop()
        for more in after:
            more()
    finally:
        if (error := sys.exception()) is not None:
            note({"traceback": "".join(traceback.format_exception(error))})
        os._exit(0)
