"""Two supervisors of one run, and a worker that hangs: scenes with the real programs."""

from __future__ import annotations

import os
import random
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from agents._codes import BUSY
from bus import files
from bus.run import Run
from tests.crash import storm_processes as processes
from tests.crash import storm_run
from tests.crash.storm_supervised import Supervised
from tests.crash.storm_worker import box
from tests.processes import ROOT, environment
from tests.small import replies

PAUSE_S = 0.2  # of each step's first child, so that supervisors are killed while something works
MOST = 200  # rounds: more than are made while supervisors fight
SILENT_S = 3.0  # without a beat, of which there is one a second: hung


class Two:
    """One run and its supervisors; to be run by `processes.apart`."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        self.run = storm_run.make(folder / "runs", MOST, PAUSE_S, storm_run.ALONE)
        self.codes: dict[int, int] = {}
        self.seen: dict[Path, tuple[int, str]] = {}

    def start(self) -> int:
        argv = [sys.executable, str(ROOT / "bin/supervise"), str(self.run), "--config", str(self.folder / "config")]
        opened = (os.POSIX_SPAWN_OPEN, 1, self.folder / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        return os.posix_spawn(sys.executable, argv, environment(), file_actions=[opened, (os.POSIX_SPAWN_DUP2, 1, 2)])

    def ended(self, *pids: int) -> dict[int, int]:
        """The exit codes of those that have ended."""
        self.codes.update(processes.reap())
        for path in self.run.glob("*/outbox/r*/reply.json"):
            self.seen.setdefault(path, (path.stat().st_ino, files.sha256_file(path)))
        return {pid: self.codes[pid] for pid in pids if pid in self.codes}

    def works(self, pid: int) -> bool:
        """True once a supervisor has agents, or has ended."""
        self.ended()
        return any(" agents." in processes.command(one) for one in processes.children(pid)) or pid in self.codes

    def fight(self, times: int) -> list[str]:
        """A second supervisor is refused; of two that start when the first was killed one is."""
        winner = self.start()
        processes.wait(lambda: self.works(winner), "the first supervisor has agents")
        broken = []
        for n in range(times + 1):
            rivals = [self.start()] if n == 0 else [self.start(), self.start()]
            processes.wait(lambda rivals=rivals: self.ended(*rivals), "one of the rivals has ended")
            codes = self.ended(*rivals)
            if list(codes.values()) != [BUSY]:
                broken.append(f"of {len(rivals)} rivals these ended: {list(codes.values())}; {self.said()}")
            if n:
                [winner] = [pid for pid in rivals if pid not in codes] or [0]
            if not winner or n == times:
                break
            processes.wait(lambda winner=winner: self.works(winner), "the winner has agents")
            time.sleep(self.chance.uniform(0.0, 0.5))
            processes.kill(winner)
        rounds = 2 + len(list(self.run.glob("10-list/outbox/r*")))  # the next but one: nobody has asked for it yet
        with closing(Run(self.run)) as opened:
            opened.want_rounds(rounds)
        processes.wait(lambda: self.ended(winner), lambda: f"the run is done; {self.said()}")
        return broken + self.judge(winner, rounds)

    def said(self) -> str:
        return (self.folder / "said").read_text().replace("\n", "; ")

    def judge(self, winner: int, rounds: int) -> list[str]:
        broken = (
            [] if self.codes[winner] == 0 else [f"the last supervisor ended with {self.codes[winner]}: {self.said()}"]
        )
        if replies(self.run) != storm_run.expected(rounds):
            broken.append(f"the replies are not those that were expected: {sorted(replies(self.run))}")
        changed = [str(one) for one, mark in self.seen.items() if (one.stat().st_ino, files.sha256_file(one)) != mark]
        broken += [f"{one.removeprefix(str(self.run))}: has changed" for one in changed]
        broken += ["two agents worked on one request at once"] if (self.folder / "runs/overlap").exists() else []
        return broken


def two_supervisors(folder: Path, times: int, seed: int) -> dict[str, Any]:
    """Let two supervisors fight for one run; its broken promises, and how many replies it made."""
    two = Two(folder, seed)
    return {"broken": two.fight(times), "replies": len(two.seen)}


def hung(folder: Path, kind: str, times: int, seed: int) -> dict[str, Any]:
    """Stop a worker that holds a claim; its supervisor ends it, and another takes the work up. To be run `apart`."""
    supervised, broken, seconds = Supervised(folder, kind, 2, seed, silent=str(SILENT_S)), [], []
    with closing(box(folder, kind)) as mailbox:
        supervised.start()
        for n in range(times):
            id = f"m{n}"
            mailbox.put(id, {"schema": "any.v1", "then": "slow"})
            processes.wait(lambda id=id: supervised.holders(id), f"{id} is claimed")
            [worker] = supervised.holders(id)
            processes.freeze(worker)
            began = time.monotonic()
            processes.wait(
                lambda id=id, worker=worker: mailbox.answered(id) or set(supervised.holders(id)) - {worker},
                f"{id} is taken up again",
            )
            seconds.append(time.monotonic() - began)
            if processes.command(worker):
                broken.append(f"{kind}: {id} was taken up again while its stopped holder lived")
            processes.wait(lambda id=id: mailbox.answered(id), f"{id} is answered")
        broken += supervised.end()
        events = sum(one["event"] == "hung" for one in supervised.events())
        if events < times or mailbox.listing().dead or mailbox.listing().requests:
            broken.append(f"{kind}: {events} of {times} were found hung; {mailbox.listing()}")
    return {"seconds": seconds, "broken": broken}
