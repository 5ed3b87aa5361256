"""A real Supervisor over workers on one mailbox: started, looked at, ended; and what it logged."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from bus import files
from tests.crash import storm_processes as processes
from tests.processes import environment


class Supervised:
    """`workers` of tests.crash.storm_worker on a folder, under tests.crash.storm_supervisor with its `options`."""

    def __init__(self, folder: Path, kind: str, workers: int, seed: object, **options: str) -> None:
        self.folder, self.seed, self.pid, self.starts = folder, seed, 0, 0
        self.arguments = [str(folder), kind, str(workers)]
        self.options = [f"--{name}={value}" for name, value in options.items()]

    def start(self) -> None:
        self.starts += 1
        argv = [sys.executable, "-m", "tests.crash.storm_supervisor", *self.arguments, f"{self.seed}-{self.starts}"]
        self.pid = os.posix_spawn(sys.executable, [*argv, *self.options], environment())

    def workers(self) -> list[int]:
        """The living workers, also those whose supervisor is dead."""
        found = processes.children(self.pid) + processes.children(os.getpid())
        return [pid for pid in found if pid != self.pid and "storm_worker" in processes.command(pid)]

    def holders(self, id: str) -> list[int]:
        """The workers that hold the claim of an ID."""
        return [pid for pid in self.workers() if id in processes.holds(pid, self.folder / "inbox")]

    def end(self) -> list[str]:
        """Stop it as a person would; returns what went wrong, then and before, in words."""
        os.kill(self.pid, signal.SIGTERM)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        processes.wait(lambda: not self.workers(), "no worker is left")
        broken = [str(one) for one in self.events() if one["event"] == "given up" or "exit" in one.get("how", "")]
        if code not in (0, -signal.SIGTERM):  # by the signal itself where it had not yet set its handler
            broken.append(f"the supervisor ended with {code}")
        return broken

    def events(self) -> list[dict[str, Any]]:
        log = Path(f"{self.folder}.log")
        return [files.parse(line, "log") for line in log.read_bytes().splitlines()] if log.exists() else []
