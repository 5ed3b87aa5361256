"""A storm over the real programs: bin/guard, its supervisor, the agents and the children of their steps, until done."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents._run import tidy
from bus import locks, tries
from bus.run import Run
from tests.crash import storm_processes as processes
from tests.crash import storm_run
from tests.processes import ROOT, environment
from tests.small import SERVICES, command, replies

PAUSE_S = 0.15  # of the first step's child, so that it is there to be killed
GAP_S = 0.5
DONE_S = 150.0  # the back-off after several deaths of a supervisor is half a minute


@dataclass
class Found:
    """What was killed; the seconds until a killed agent's claim was taken up again, by that agent's deaths so far."""

    kills: dict[str, int] = field(default_factory=dict)
    first_s: list[float] = field(default_factory=list)
    later_s: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


class Guarded:
    """One run under bin/guard; to be run by `processes.apart`."""

    def __init__(self, folder: Path, rounds: int, plan: list[str], seed: int) -> None:
        self.rounds, self.plan, self.chance, self.found = rounds, plan, random.Random(seed), Found()
        self.run = storm_run.make(folder / "runs", rounds, PAUSE_S)
        self.boxes = [*storm_run.STEPS, *SERVICES]
        self.log = folder / "guard.log"
        argv = [sys.executable, str(ROOT / "bin/guard"), str(self.run), "--config", str(folder / "config")]
        opened = (os.POSIX_SPAWN_OPEN, 2, self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        actions = [opened, (os.POSIX_SPAWN_DUP2, 2, 1)]
        self.guard = os.posix_spawn(sys.executable, argv, environment(), file_actions=actions)
        self.code: int | None = None
        self.deaths: list[str] = []  # the requests that something died at
        self.struck: set[tuple[int | str, ...]] = set()  # (supervisor, mailbox) of each agent that was killed

    def storm(self) -> dict[str, Any]:
        self.chance.shuffle(self.plan)
        for kind in self.plan:
            until = time.monotonic() + self.chance.uniform(0.0, GAP_S)
            processes.wait(lambda until=until: self.over() or time.monotonic() > until, "the next kill")
            self.strike(kind)
        processes.wait(self.over, lambda: f"the run is done; {self.said()}", DONE_S)
        self.judge()
        return vars(self.found)

    def over(self) -> bool:
        for pid, code in processes.reap():
            if pid == self.guard:
                self.code = code
        return self.code is not None

    def said(self) -> str:
        return self.log.read_text().replace("\n", "; ") if self.log.exists() else ""

    # -- killing --------------------------------------------------------------------------------------------

    def strike(self, kind: str) -> None:
        """Wait for a process of a kind, and kill it; an agent or a child while it works on a request."""
        victims: list[int] = []

        def there() -> bool:
            victims[:] = self.supervisors() if kind == "supervisor" else self.at_work(kind == "child")
            return bool(victims) or self.over()

        processes.wait(there, lambda: f"there is a {kind} to kill; {self.said()}")
        if self.over():
            return
        victim, parent = self.chance.choice(victims), self.supervisors()
        processes.freeze(victim)
        worker = {pid: one for one in self.agents() for pid in processes.children(one)}.get(victim, victim)
        held = self.held(worker)
        before = time.monotonic()
        if not processes.kill(victim):
            return
        self.found.kills[kind] = self.found.kills.get(kind, 0) + 1
        self.deaths += [f"{box} {id}" for box, id in held]
        for box, id in held if kind == "agent" else ():
            processes.wait(lambda box=box, id=id: self.taken_up(box, id), f"{box} {id} is taken up again")
            first = (*parent, box) not in self.struck
            self.struck.add((*parent, box))
            (self.found.first_s if first else self.found.later_s).append(time.monotonic() - before)

    def at_work(self, child: bool) -> list[int]:
        """The agents that hold a claim, or their children; none whose request has died almost too often already."""
        found = []
        for agent in self.agents():
            for box, id in self.held(agent):
                if self.deaths.count(f"{box} {id}") < tries.DEATHS - 1:
                    found += [pid for pid in processes.children(agent) if processes.command(pid)] if child else [agent]
        return found

    def held(self, agent: int) -> set[tuple[str, str]]:
        return {(box, id) for box in self.boxes for id in processes.holds(agent, self.run / box / "inbox")}

    def supervisors(self) -> list[int]:
        return [pid for pid in processes.children(self.guard) if "bin/supervise" in processes.command(pid)]

    def agents(self) -> list[int]:
        found = [pid for one in [*self.supervisors(), os.getpid()] for pid in processes.children(one)]
        return [pid for pid in found if " agents." in processes.command(pid)]

    def taken_up(self, box: str, id: str) -> bool:
        """True once another agent holds the claim, or has answered it."""
        suffix = ".json" if box in SERVICES else "/reply.json"
        if self.over() or (self.run / box / "outbox" / f"{id}{suffix}").exists():
            return True
        return locks.is_held(self.run / box / "inbox" / f"{id}.json")

    # -- what must be so ------------------------------------------------------------------------------------

    def judge(self) -> None:
        broken, told = self.found.broken, [storm_run.derived(n + 1) for n in range(self.rounds)]
        if self.code:
            broken.append(f"the guard ended with {self.code}: {self.said()}")
        if replies(self.run) != storm_run.expected(self.rounds):
            broken.append(f"the replies are not those that were expected: {sorted(replies(self.run))}")
        broken += [f"never answered: {one}" for one in storm_run.missing(self.run, told)]
        with closing(Run(self.run)) as opened:
            for box in self.boxes:
                tidy(opened.mailbox(box))  # what an agent that was killed after its reply left, the next one removes
        left = [
            str(one.relative_to(self.run))
            for part in ("inbox", "work", "dead")
            for one in self.run.glob(f"*/{part}/[!.]*")
        ]
        broken += [f"left over: {', '.join(sorted(left)[:5])}"] if left else []
        checked = command("check", self.run)
        if checked.returncode:
            broken.append(f"bin/check: {checked.stdout}")


def guarded(folder: Path, rounds: int, plan: list[str], seed: int) -> dict[str, Any]:
    """Run one storm over bin/guard; returns the fields of Found."""
    guarded = Guarded(folder, rounds, plan, seed)
    try:
        return guarded.storm()
    finally:
        if guarded.code is None:
            os.kill(guarded.guard, signal.SIGKILL)
