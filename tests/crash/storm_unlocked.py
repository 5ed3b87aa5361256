"""Where locks do not reach: two agents claim one request, and stop and go on at every point of the work.

So behaves a shared file system whose locks are known to one host alone. `locks.take` then always succeeds and
`locks.is_held` says False; nothing else is changed.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

from agents._run import tidy
from bus import files, locks
from bus.claim import Claim
from tests.crash.storm_stops import go_on, started, stopped
from tests.crash.storm_worker import FACTS, box

ENDS = ("commit", "fail", "give up")  # how the first agent's work ends; the second's always ends well


def unlocked() -> None:
    locks.take = lambda descriptor: True
    locks.is_held = lambda path, dir_fd=None: False


def agent(count: Callable[[], None], folder: Path, kind: str, name: str, end: str) -> None:
    """Do what is pending as agents._agent does; the artifact says who made it."""
    unlocked()
    with closing(box(folder, kind)) as mailbox:
        count()
        tidy(mailbox)
        for claim in mailbox.claims():
            try:
                try:
                    work(claim, kind, name, end)
                except Exception as error:  # noqa: BLE001  # as in agents/_agent.py
                    claim.fail({"kind": "error", "message": f"{type(error).__name__}: {error}", "where": name})
            except OSError:
                claim.release()


def work(claim: Claim, kind: str, name: str, end: str) -> None:
    if kind == "step":
        folder = claim.begin()
        (folder / "out" / "answer.txt").write_text(name)
    if end == "fail":
        raise ValueError("a bad day")
    if end == "give up":
        claim.give_up("refused", "not this one")
    elif kind == "step":
        claim.commit_folder(FACTS)
    else:
        claim.commit_file({"schema": "any.v1", "answer": name})


class Race:
    """Two agents on one request: the first stops before call n, the second before call m or never."""

    def __init__(self, folder: Path, kind: str, end: str) -> None:
        self.folder, self.kind, self.end = folder, kind, end
        self.first: dict[str, tuple[int, bytes]] = {}  # the reply's files, as they were first seen
        self.broken: list[str] = []

    def run(self, n: int, m: int) -> tuple[bool, bool]:
        """Whether each of the two came to its stop."""
        with closing(box(self.folder, self.kind)) as mailbox:
            mailbox.put("m1", {"schema": "any.v1", "id": "m1"})
        one = started(n, agent, self.folder, self.kind, "first", self.end)
        if not stopped(one):
            return False, False
        two = started(m, agent, self.folder, self.kind, "second", "commit")
        waits = stopped(two)
        self.look("while the first is stopped")
        go_on(one)
        self.look("after the first went on")
        if waits:
            go_on(two)
            self.look("after the second went on")
        stopped(started(0, agent, self.folder, self.kind, "third", "commit"))
        self.look("at the next start")
        self.judge()
        shutil.rmtree(self.folder)
        return True, waits

    def look(self, when: str) -> None:
        """A reply that was seen once stays as it is."""
        outbox = self.folder / "outbox"
        now = {
            str(path.relative_to(outbox)): (path.stat().st_ino, path.read_bytes() if path.is_file() else b"")
            for path in outbox.rglob("*")
        }
        if self.first and now != self.first:
            self.broken.append(f"the reply changed {when}: {sorted(self.first)} is {sorted(now)}")
        self.first = self.first or now

    def judge(self) -> None:
        with closing(box(self.folder, self.kind)) as mailbox:
            tidy(mailbox)
            reply, state = mailbox.reply("m1"), mailbox.state("m1")
        left = [name for part in ("inbox", "work") for name in os.listdir(self.folder / part)]
        if state == "dead" and self.end == "give up":  # it was given up before anybody had answered
            return
        if state != "done" or reply is None or left:
            self.broken.append(f"in the end it is {state}; left over: {left}")
        elif self.kind == "step":
            path = self.folder / "outbox/m1/answer.txt"
            if reply["artifacts"].get("answer.txt", {}).get("sha256") != files.sha256_file(path):
                self.broken.append("the reply is not whole")


def every_stop(folder: Path, kind: str, end: str) -> Iterator[tuple[int, list[str]]]:
    """(n, what broke) for each stop of the first agent; the second works to its end meanwhile."""
    n = 1
    while True:
        race = Race(folder / f"{n}" / "10-first", kind, end)
        if not race.run(n, 0)[0]:
            return
        yield n, race.broken
        n += 1


def pairs(folder: Path, kind: str, stops: int, sample: int, chance: random.Random) -> tuple[int, list[str]]:
    """(how many, what broke) of stopping both agents, at every pair of points or at a random sample of them."""
    every = list(product(range(1, stops + 1), repeat=2))
    count, broken = 0, []
    for n, m in chance.sample(every, min(sample, len(every))):
        race = Race(folder / f"{n}-{m}" / "10-first", kind, "commit")
        count += all(race.run(n, m))
        broken += [f"stops {n} and {m}: {one}" for one in race.broken]
    return count, broken


def everything(folder: Path, kind: str, ends: Sequence[str], sample: int, seed: int) -> dict[str, Any]:
    """Every stop of one agent with some ends of its work, and pairs of stops of both; to be run `apart`."""
    broken, stops = [], {}
    for end in ends:
        found = list(every_stop(folder / end, kind, end))
        stops[end] = len(found)
        broken += [f"{end}, stop {n}: {one}" for n, problems in found for one in problems]
    count, more = pairs(folder / "pairs", kind, stops["commit"], sample, random.Random(seed))
    return {"stops": stops, "pairs": count, "broken": broken + more}
