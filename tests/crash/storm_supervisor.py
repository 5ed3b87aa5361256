"""The supervisor of the storms: agents._supervise over some workers, with its events appended to FOLDER.log.

    python -m tests.crash.storm_supervisor FOLDER step|service WORKERS SEED [--silent=S] [--back_off=FACTOR]

Restarts wait for nothing, so that figures are about the bus; with a factor, that part of what is shipped. It
ends when a worker ends by itself.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from agents._supervise import BACK_OFF_S, SILENT_S, Program, Supervisor
from bus import files

AT_ONCE = (0.0,) * 100_000  # more restarts than any storm has kills


def supervisor(folder: str, kind: str, workers: str, seed: str, *options: str) -> Supervisor:
    given = dict(one.removeprefix("--").split("=") for one in options)
    log = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def note(event: str, **facts: Any) -> None:
        os.write(log, files.canonical({"event": event, **facts}))
        if "exit" in facts.get("how", ""):  # by itself, which no worker may: its traceback is on stderr
            made.stop()

    program = [sys.executable, "-m", "tests.crash.storm_worker", folder, kind]
    made = Supervisor(
        [Program(f"w{n}", [*program, f"{seed} {n}"]) for n in range(int(workers))],
        lambda children: False,
        note,
        silent_s=float(given.get("silent", SILENT_S)),
        back_off_s=[one * float(given["back_off"]) for one in BACK_OFF_S] if "back_off" in given else AT_ONCE,
    )
    return made


if __name__ == "__main__":
    started = supervisor(*sys.argv[1:])
    signal.signal(signal.SIGTERM, started.stop)
    started.run()
