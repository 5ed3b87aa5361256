"""Have a run's questions to models answered while a command waits for them."""

from __future__ import annotations

import _start

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from _tell import Trouble
from agents import _budget
from agents._ask import SERVICE, Asker
from agents._codes import BUSY, FAILED
from agents._config import Config, ConfigError
from agents._goal import Goal
from agents._original import is_replayed
from agents.llm import CALLS_FD
from agents.models.keys import key_variables, lacking
from agents.models.ledger import NAME
from agents.models.profile import profiles
from agents.sandbox.environment import clean_environment
from bus import locks
from bus.run import Run

TELL_S = 15.0  # how often a person hears that nobody answers yet


class Served:
    """Who answers the questions of one command: the llm agent that serves the run, else one of its own.

    Its own answers these questions alone, and ends with the command, however that ends: the pipe that tells it their
    IDs is closed then. Who may start one holds its keys: call agents.models.keys.guard_memory first.
    """

    def __init__(self, command: str, run: Run, config: Config, say: Callable[[str], None]) -> None:
        self.command, self.run, self.config, self.say = command, run, config, say
        self._asked: list[str] = []
        self._child: subprocess.Popen[bytes] | None = None
        self._pipe, self._told = -1, time.monotonic()

    def asker(self, step: str) -> Asker:
        """Who asks on behalf of a step, and sees to it that somebody answers."""
        return Watching(self, step)

    def look(self, ids: Sequence[str]) -> None:
        """Take note of calls that were asked, and see that somebody answers them; raises ConfigError and Trouble."""
        self._asked += ids
        if self._child and (code := self._child.poll()) is not None:
            self.end()
            if code != BUSY and self._waits():  # BUSY: another was quicker to serve the run
                how = signal.Signals(-code).name if code < 0 else f"exit {code}"
                raise Trouble(self.command, f"{self.run.name}: its llm agent ended ({how}); ask again", FAILED)
        elif self._child:
            self._name(ids)
        elif self._waits() and not is_served(self.run):
            self._start()
        if time.monotonic() - self._told > TELL_S:
            self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        if self.run.hold.exists():
            self.say(f"the run is held, so that nobody answers; remove {self.run.hold}")
        elif not self._child:
            self.say("waits for its turn with the llm agent that serves this run")

    def end(self) -> None:
        """End our own agent; what it has in flight it finishes first, as it is paid."""
        pipe, self._pipe, child, self._child = self._pipe, -1, self._child, None
        if pipe >= 0:
            os.close(pipe)
        if child:
            child.terminate()
            child.wait()

    def _waits(self) -> bool:
        """True while a call of ours has neither a reply nor a dead letter."""
        box = self.run.mailbox(SERVICE)
        return not all(box.answered(id) or box.is_dead(id) for id in self._asked)

    def _start(self) -> None:
        check_keys(self.run.folder, self.config, _budget.goal_of(self.run))
        read, self._pipe = os.pipe2(os.O_CLOEXEC)
        argv = [sys.executable, "-P", "-m", "agents.llm", str(self.run.folder), "--watch"]
        argv += ["--config", str(self.config.folder.absolute())]
        keys = key_variables(_budget.enabled(self.run, self.config).values())
        env = clean_environment({**keys, "PYTHONPATH": _start.ROOT, CALLS_FD: str(read)})
        try:  # in a session of its own: Ctrl-C and a lost terminal are the command's, which ends it by the pipe
            self._child = subprocess.Popen(
                argv,
                cwd=_start.ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # the command's own output is the answer alone
                pass_fds=[read],
                start_new_session=True,
            )
        finally:
            os.close(read)
        self._name(self._asked)

    def _name(self, ids: Sequence[str]) -> None:
        with contextlib.suppress(BrokenPipeError):  # the next look finds that it has ended
            os.write(self._pipe, "".join(f"{id}\n" for id in ids).encode("ascii"))


class Watching(Asker):
    """An Asker whose questions somebody answers: it puts, if only nothing, at each look at what it waits for."""

    def __init__(self, there: Served, step: str) -> None:
        super().__init__(there.run, there.config, step, there.say)
        self._there = there

    def put(self, asked: Sequence[Mapping[str, Any]]) -> list[str]:
        ids = super().put(asked)
        self._there.look(ids)
        return ids


@contextlib.contextmanager
def served(command: str, run: Run, config: Config, say: Callable[[str], None]) -> Iterator[Served]:
    """Have the questions of a command answered until the end of the block; SIGTERM and Ctrl-C end it as Trouble."""

    def stop(number: int, _: object) -> NoReturn:
        raise Trouble(command, "stopped; the same command goes on", 128 + number)

    there = Served(command, run, config, say)
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield there
    finally:
        there.end()
        for number, handler in before.items():
            signal.signal(number, handler)


def is_served(run: Run) -> bool:
    """True while some llm agent serves a run: then nobody else's keys are needed."""
    return locks.is_held(run.folder / SERVICE / NAME)


def check_keys(folder: Path, config: Config, goal: Goal) -> None:
    """Raise ConfigError where the llm agent of a run, there or not yet there, would lack the key of a profile."""
    if not is_replayed(folder) and (none := lacking(profiles(config.infra, goal.budget).values())):
        raise ConfigError(none)
