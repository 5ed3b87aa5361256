"""A program's side of the pipe to its supervisor: beats go out by it; its closing says that the supervisor is gone."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from agents._supervise import BEAT_FD, GRACE_S

BEAT_S = 1.0
LEAST_S = 0.05  # between two beats: an agent that ends a hundred jobs a second beats for many at once


class Beat:
    """Writes `describe()` once a second and on `now()`; calls `gone()` at once when the supervisor has died.

    A program that has not ended some time after `gone()` is killed: nobody else is left to do it. Where no
    supervisor started this program (run by hand) a Beat does nothing.
    """

    def __init__(self, describe: Callable[[], dict[str, Any]], gone: Callable[[], None]) -> None:
        self.describe, self.gone = describe, gone
        text = os.environ.pop(BEAT_FD, "")  # not for our own children: there the number names another file, or none
        self.descriptor = int(text) if text.isdecimal() else -1
        self._poke_r, self._poke_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        if self.descriptor >= 0:
            os.set_inheritable(self.descriptor, False)
            threading.Thread(target=self._run, name="beat", daemon=True).start()

    def keep(self) -> None:
        """Let the pipe outlive an exec: the program starts itself anew, and beats on."""
        if self.descriptor >= 0:
            os.set_inheritable(self.descriptor, True)
            os.environ[BEAT_FD] = str(self.descriptor)

    def now(self) -> None:
        if self.descriptor < 0:
            return
        with contextlib.suppress(BlockingIOError):
            os.write(self._poke_w, b".")

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self.descriptor, 0)  # POLLERR alone: the reading end is closed
        poll.register(self._poke_r, select.POLLIN)
        ready: dict[int, int] = {}
        while self.descriptor not in ready:
            try:
                beat = json.dumps(told := self.describe()) + "\n"
                if len(beat) > select.PIPE_BUF:  # it could not be written in one piece
                    beat = json.dumps({key: told[key] for key in ("claim", "age_s", "done") if key in told}) + "\n"
                os.write(self.descriptor, beat.encode())
            except BlockingIOError:
                pass  # the supervisor is slow; the next beat tells more
            except OSError:
                break
            time.sleep(LEAST_S)
            ready = dict(poll.poll((BEAT_S - LEAST_S) * 1000))
            if self._poke_r in ready:
                os.read(self._poke_r, 4096)
        self.gone()
        time.sleep(GRACE_S)
        os.kill(os.getpid(), signal.SIGKILL)
