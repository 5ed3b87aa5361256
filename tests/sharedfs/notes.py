"""What each worker of a storm did, on this machine's own disk: one line when it has a claim, one before it lets go."""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

DIED = "-"  # instead of an ID: a process that ended by an error which the bus let out


class Held(NamedTuple):
    """One claim: who had it, from when to when, by this machine's monotonic clock."""

    id: str
    pid: int
    began: float
    ended: float


class Notes:
    """Written by many, one short line in one call each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def write(self, id: str, what: str) -> None:
        """`what`: "began", or how it ended."""
        os.write(self._file, f"{time.monotonic()}\t{os.getpid()}\t{id}\t{what}\n".encode())

    def lines(self) -> list[tuple[float, int, str, str]]:
        rows = [line.split("\t") for line in self.path.read_text().splitlines()]
        return [(float(when), int(pid), id, what) for when, pid, id, what in rows]

    def ends(self) -> Counter[str]:
        """How often claims ended in each way."""
        return Counter(f"died of {what}" if id == DIED else what for _, _, id, what in self.lines() if what != "began")


def held(notes: Notes, deaths: Mapping[int, float]) -> list[Held]:
    """Every claim in the notes; one that was never ended lasted until its holder's death."""
    begun: dict[tuple[int, str], float] = {}
    found = []
    for when, pid, id, what in notes.lines():
        if id == DIED:
            continue
        if what == "began":
            begun[(pid, id)] = when
        else:
            found.append(Held(id, pid, begun.pop((pid, id)), min(when, deaths[pid])))
    return found + [Held(id, pid, began, deaths[pid]) for (pid, id), began in begun.items()]


def at_once(claims: list[Held]) -> set[str]:
    """The IDs that two held at the same time."""
    by_id = defaultdict(list)
    for claim in sorted(claims, key=lambda one: one.began):
        by_id[claim.id].append(claim)
    return {
        id
        for id, them in by_id.items()
        if any(later.began < earlier.ended for n, later in enumerate(them) for earlier in them[:n])
    }
