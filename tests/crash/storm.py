"""One storm: putters, workers and their supervisor on one mailbox, killed at random moments, and what is left.

Each death of a process that held a claim is timed until another one holds that claim, or has answered it.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents._run import tidy
from bus import files, tries
from tests.crash import storm_processes as processes
from tests.crash.storm_supervised import Supervised
from tests.crash.storm_worker import answer, box

PUTTERS, WORKERS = 2, 3
PACE_S = 0.02  # of one putter: the workers have work most of the time, and the outbox stays in the thousands
WAITING = 20  # requests in the inbox at most: a worker that drains a long list looks for no other work meanwhile
AGAIN = 20  # requests that a putter asks once more when it is started again: asking twice is asking once
GAP_S = 0.06  # between two kills at the most: about the time that a worker needs to start
ALONE = 0.5  # how often the next kill waits until all work is taken up again, so that this can be timed undisturbed
LOOK_S = 0.2
NEVER_S = 20.0


@dataclass
class Death:
    """A claim whose holder was killed: when, and when something else was killed last before it was taken up again."""

    killed: float
    last: float
    of_supervisor: bool
    old: int


@dataclass
class Found:
    """What a storm found; `broken` are promises, in words."""

    kills: dict[str, int] = field(default_factory=dict)
    acknowledged: int = 0
    revived: int = 0
    alone_s: list[float] = field(default_factory=list)
    others_s: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def putter(folder: Path, kind: str, share: int) -> None:
    """Put requests until the storm is over; each is noted as acknowledged only after `put` has returned."""
    mailbox, path = box(folder, kind), Path(f"{folder}.acknowledged-{share}")
    acknowledged = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    n = share + PUTTERS * max(0, path.read_bytes().count(b"\n") - AGAIN)
    while not Path(f"{folder}.over").exists():
        mailbox.put(f"m{n}", {"schema": "any.v1", "id": f"m{n}"})
        os.write(acknowledged, f"m{n}\n".encode())
        n += PUTTERS
        time.sleep(PACE_S)
        while len(os.listdir(folder / "inbox")) > WAITING:
            time.sleep(PACE_S)


class Storm:
    """All processes of one storm, and every reply as it was first seen; to be run by `processes.apart`."""

    def __init__(self, folder: Path, kind: str, plan: list[str], seed: int) -> None:
        self.folder, self.kind, self.found = folder, kind, Found()
        self.chance = random.Random(f"{kind} {seed}")
        self.plan = self.chance.sample(plan, len(plan))
        self.mailbox = box(folder, kind)
        self.seen: dict[str, list[Any]] = {}
        self.open: dict[str, Death] = {}
        self.deaths: dict[str, int] = {}
        self.putters: dict[int, int] = {}
        self.supervised = Supervised(folder, kind, WORKERS, seed)
        self._looked = 0.0

    def run(self) -> dict[str, Any]:
        for share in range(PUTTERS):
            self.start_putter(share)
        self.supervised.start()
        next_kill, alone = time.monotonic() + 0.3, False
        while self.plan:
            self.tick()
            if time.monotonic() < next_kill or (alone and self.open) or not (pid := self.victim(self.plan[-1])):
                continue
            self.strike(self.plan.pop(), pid)
            next_kill = time.monotonic() + self.chance.uniform(0.0, GAP_S)
            alone = self.chance.random() < ALONE
        Path(f"{self.folder}.over").touch()
        processes.wait(self.drained, lambda: f"all is answered: {sorted(self.mailbox.listing().requests)}, {self.open}")
        self.found.broken += self.supervised.end()
        self.judge()
        return vars(self.found)

    # -- processes ------------------------------------------------------------------------------------------

    def start_putter(self, share: int) -> None:
        self.putters[processes.fork(putter, self.folder, self.kind, share)] = share

    def victim(self, kind: str) -> int:
        """A process of a kind; 0 while there is none."""
        if kind == "supervisor":
            return self.supervised.pid
        found = list(self.putters) if kind == "putter" else self.supervised.workers()
        if kind == "holder":
            found = [pid for pid in found if processes.holds(pid, self.folder / "inbox")]
        return self.chance.choice(found) if found else 0

    def strike(self, kind: str, pid: int) -> None:
        """Kill one process, note what it held, and start it again if nobody else does."""
        processes.freeze(pid)
        owners = {"supervisor": self.supervised.workers(), "putter": []}.get(kind, [pid])
        held = {id: one for one in owners for id in processes.holds(one, self.folder / "inbox")}
        now = time.monotonic()
        if not processes.kill(pid):
            return
        self.found.kills[kind] = self.found.kills.get(kind, 0) + 1
        if kind == "putter":
            self.start_putter(self.putters.pop(pid))
            return
        for death in self.open.values():
            death.last = now
        for id, one in held.items():
            self.deaths[id] = self.deaths.get(id, 0) + (kind != "supervisor")
            if not self.mailbox.answered(id):  # else there is nothing to take up but the cleaning
                self.open[id] = Death(now, now, kind == "supervisor", one)
        if kind == "supervisor":
            self.supervised.start()

    def tick(self) -> None:
        time.sleep(processes.LOOK_S)
        self.taken_up()
        for pid, code in processes.reap():
            putter = self.putters.pop(pid, None)
            if pid == self.supervised.pid or (putter is not None and code):
                who = "the supervisor" if putter is None else f"putter {putter}"
                raise RuntimeError(f"{who} ended by itself with {code}; {self.found.broken}")
        if time.monotonic() - self._looked > LOOK_S:
            self._looked = time.monotonic()
            self.look()

    # -- what must be so ------------------------------------------------------------------------------------

    def taken_up(self) -> None:
        """Close the account of each claim that has another holder now, or a reply."""
        for id, death in list(self.open.items()):
            now = time.monotonic()
            if not (self.mailbox.answered(id) or set(self.supervised.holders(id)) - {death.old}):
                if now - death.last < NEVER_S:
                    continue
                self.found.broken.append(f"{id}: its holder was killed, and nobody took it up in {NEVER_S:g} s")
            elif death.last == death.killed and not death.of_supervisor:
                self.found.alone_s.append(now - death.killed)
            else:
                self.found.others_s.append(now - death.last)
            del self.open[id]

    def look(self) -> None:
        """Note new replies; no acknowledged request is without a state; a dead letter has its reason."""
        asked, listing = self.acknowledged(), self.mailbox.listing()
        for id in asked - listing.requests - listing.replies - listing.dead:
            if self.mailbox.state(id) is None:
                self.found.broken.append(f"{id}: acknowledged, and in no state")
        for id in listing.replies - self.seen.keys():
            self.seen[id] = self.fingerprint(id)
        for id in listing.dead - listing.replies:
            letter = files.read_json(self.folder / "dead" / f"{id}.json")
            if self.kind == "step" or self.deaths.get(id, 0) < tries.DEATHS:
                self.found.broken.append(f"{id}: given up for no good reason: {letter['message']}")
            self.found.revived += 1
            self.deaths[id] = 0
            self.mailbox.revive(id)

    def fingerprint(self, id: str) -> list[Any]:
        """[inode, sha256] of each file of a reply, and of its folder."""
        path = self.folder / "outbox" / (id if self.kind == "step" else f"{id}.json")
        parts = [path / "reply.json", path / "answer.txt"] if self.kind == "step" else [path]
        return [path.stat().st_ino, *((one.stat().st_ino, files.sha256_file(one)) for one in parts)]

    def acknowledged(self) -> set[str]:
        found: set[str] = set()
        for share in range(PUTTERS):
            with contextlib.suppress(FileNotFoundError):
                found |= set(Path(f"{self.folder}.acknowledged-{share}").read_text().split())
        return found

    def drained(self) -> bool:
        self.tick()
        listing = self.mailbox.listing()
        return not listing.requests and not self.open and not self.putters

    def judge(self) -> None:
        """What is there after the storm, as the next agent that starts would find it."""
        tidy(self.mailbox)
        self.look()
        listing, asked, broken = self.mailbox.listing(), self.acknowledged(), self.found.broken
        self.found.acknowledged = len(asked)
        broken += [f"{id}: acknowledged, and never answered" for id in sorted(asked - listing.replies)]
        broken += [f"{id}: its reply has changed" for id, mark in self.seen.items() if self.fingerprint(id) != mark]
        broken += [f"{id}: its reply is not whole" for id in sorted(listing.replies) if not self.whole(id)]
        left = [f"{part}/{name}" for part in ("inbox", "work", "dead") for name in os.listdir(self.folder / part)]
        broken += [f"left over: {', '.join(left[:5])}"] if left else []
        broken += [str(event) for event in self.supervised.events() if event["event"] == "hung"]

    def whole(self, id: str) -> bool:
        reply = self.mailbox.reply(id)
        assert reply is not None, "it is in the listing"
        if self.kind == "service":
            return bool(reply["answer"] == answer(id))
        path = self.folder / "outbox" / id / "answer.txt"
        return reply["artifacts"]["answer.txt"]["sha256"] == files.sha256_file(path) and path.read_text() == answer(id)


def storm(folder: Path, kind: str, plan: list[str], seed: int) -> dict[str, Any]:
    """Run one storm; returns Found.

    For each of the plan it kills a `putter`, a `worker`, a `holder` (a worker that holds a claim) or the `supervisor`.
    """
    return Storm(folder, kind, plan, seed).run()
