"""Child processes of a trial. They are forked: nothing is imported again, and the trial has one thread."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable

from tests.crash.storm_processes import fork


def end(pid: int) -> None:
    """Kill a child, in whatever state it is, and bury it."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


class Racer:
    """A child that prepares a call, reports ready, makes it at the word, and says how it went."""

    def __init__(self, job: Callable[[int], Callable[[], object]]) -> None:
        self.word_r, self.word_w = os.pipe()
        answers_r, self.answers_w = os.pipe()
        self.answers = os.fdopen(answers_r)
        self.pid = fork(self._run, job)

    def _run(self, job: Callable[[int], Callable[[], object]]) -> None:
        number = 0
        while True:
            call = job(number)
            self._say("ready")
            os.read(self.word_r, 1)
            try:
                call()
                self._say("won")
            except OSError as error:
                self._say(errno.errorcode.get(error.errno or 0, str(error.errno)))
            number += 1

    def _say(self, word: str) -> None:
        os.write(self.answers_w, f"{word}\n".encode())

    def go(self) -> None:
        os.write(self.word_w, b"g")

    def answer(self) -> str:
        """Its next word: "ready", then "won" or the name of the error that it got; one line each."""
        return self.answers.readline().strip()

    def end(self) -> None:
        end(self.pid)
        self.answers.close()
        for descriptor in (self.word_r, self.word_w, self.answers_w):
            os.close(descriptor)
