"""What is due: pure functions of a flow and of what has been replied.

A step reads names such as `20-collect/sources.jsonl`, `goal.md`, or `before/80-improve/next.json` (of the last round).
Its request for a round is due once every step that it reads has replied for that round (for `before/`, for the round
before; round 1 has none before it), and once it has itself replied for the round before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

Key = tuple[str, int]  # (step, round)
BEFORE = "before/"
STEP = re.compile(r"[0-9]{2,3}-[a-z][a-z0-9-]{0,40}")
DEFAULT_TRIES = 3
DEFAULT_MINUTES = 60.0  # a claim older than this is hung


class BadFlow(Exception):
    """A flow that cannot run: an unknown step is read, or steps wait for each other."""


@dataclass(frozen=True)
class Step:
    """One step of a flow. `reads` are names, `writes` maps artifact patterns to schema names ("text", "files")."""

    name: str
    agent: str = ""
    command: Sequence[str] = ()
    reads: Sequence[str] = ()
    writes: Mapping[str, str] = field(default_factory=dict)
    tries: int = DEFAULT_TRIES
    minutes: float = DEFAULT_MINUTES
    settings: Mapping[str, Any] = field(default_factory=dict)

    def needs(self, round: int) -> set[Key]:
        """The (step, round) pairs that must be replied first: what it reads, and its own last round."""
        found = {(source(name), round - name.startswith(BEFORE)) for name in self.reads} | {(self.name, round - 1)}
        return {(step, n) for step, n in found if step and n >= 1}


def source(name: str) -> str:
    """The step that a read name comes from; "" for files of the run itself, such as goal.md."""
    first, slash, _ = name.removeprefix(BEFORE).partition("/")
    return first if slash and STEP.fullmatch(first) else ""


def steps(flow: Mapping[str, Mapping[str, Any]]) -> list[Step]:
    """The steps of a flow document, in order of their names; raises BadFlow, TypeError for an unknown key."""
    known = [Step(name, **entry) for name, entry in sorted(flow.items())]
    for step in known:
        if not STEP.fullmatch(step.name):
            raise BadFlow(f"flow: {step.name!r}: a step's name is digits, a dash and a word, like 45-dedupe")
        for name in step.reads:
            if source(name) and source(name) not in flow:
                raise BadFlow(f"flow: {step.name}: reads {name}, but there is no step {source(name)}")
    try:
        TopologicalSorter({step.name: {name for name, _ in step.needs(1)} for step in known}).prepare()
    except CycleError as error:
        raise BadFlow(f"flow: steps wait for each other: {', '.join(error.args[1])}") from None
    return known


def request(step: Step, round: int) -> dict[str, Any]:
    """The one request of a step for a round; derived from nothing else, so that asking twice is asking once."""
    return {"schema": "request.v1", "id": f"r{round}", "step": step.name, "round": round}


def due(known: Iterable[Step], replied: set[Key], asked: set[Key], rounds: int) -> list[tuple[Step, int]]:
    """The requests to put: those not asked or replied yet whose needs are replied, for rounds 1 to `rounds`."""
    before = replied | asked
    every = [(step, n) for n in range(1, rounds + 1) for step in known]
    return [(step, n) for step, n in every if (step.name, n) not in before and step.needs(n) <= replied]


def stale(replies: Mapping[Key, Mapping[str, Any]], own: Mapping[str, str]) -> list[Key]:
    """The replies that read what is no longer so: an input was replied with other bytes since, or was changed.

    `replies` maps (step, round) to reply documents, `own` maps names of the run's own files to their sha256.
    An input that has no reply just now judges nothing.
    """

    def now(name: str, round: int) -> str | None:
        """The present sha256 of a read name; "" if its step replied without it, None if that cannot be told."""
        if not (step := source(name)):
            return own.get(name)
        if (reply := replies.get((step, round - name.startswith(BEFORE)))) is None:
            return None
        inner = name.removeprefix(BEFORE).partition("/")[2]
        return str(reply["artifacts"].get(inner, {"sha256": ""})["sha256"])

    def is_stale(round: int, read: Mapping[str, str]) -> bool:
        return any(now(name, round) not in (None, sha256) for name, sha256 in read.items())

    return [key for key, reply in sorted(replies.items()) if is_stale(key[1], reply["read"])]
