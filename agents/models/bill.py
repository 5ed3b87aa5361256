"""What a run's model calls came to, for people: by step and profile from the ledger, by role from the replies.

What somebody asked by hand is paid like the rest, and stands in the ledger's lines; who answered it made no part of the
run, and does not count as having spoken.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents._config import BY_HAND
from agents.models import ledger
from bus import files


@dataclass
class Line:
    """The calls of one step by one profile. Tokens are those that a server or the agent counted."""

    calls: set[str] = field(default_factory=set)
    input: int = 0
    output: int = 0
    usd: float = 0.0
    unknown: int = 0  # attempts whose dollars nobody knows: no price, no count, or a killed agent


@dataclass
class Bill:
    """The sums, and which models spoke for each role."""

    lines: dict[tuple[str, str], Line] = field(default_factory=lambda: defaultdict(Line))  # by step and profile
    spoke: dict[str, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))  # role: profile, model
    useless: Counter[str] = field(default_factory=Counter)  # answers that were cut off, refused or unfit, by step
    given_up: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # by step, by kind

    def __bool__(self) -> bool:
        return bool(self.lines or self.spoke or self.given_up)


def bill(folder: Path) -> Bill:
    """The bill of an `llm` mailbox as it stands; an empty one where there is none. Damaged files are passed over."""
    made = Bill()
    _from_ledger(made, folder / ledger.NAME)
    answered = set()
    for path in sorted((folder / "outbox").glob("[!.]*.json")):
        reply = _document(path)
        answered.add(path.stem)
        if "call" in reply and reply["call"]["step"] != BY_HAND:
            made.spoke[reply["call"]["role"]].add((reply["profile"], reply["model"]))
            made.useless[reply["call"]["step"]] += bool(reply["error"])
    for path in sorted((folder / "dead").glob("[!.]*.json")):
        asked = _document(folder / "inbox" / path.name)
        if path.stem not in answered and "step" in asked:
            made.given_up[asked["step"]][str(_document(path).get("kind"))] += 1
    return made


def _from_ledger(made: Bill, path: Path) -> None:
    open_: dict[int, Line] = {}
    for row in ledger.Tally(path).lines():
        if row["event"] == "reserve":
            line = open_[row["n"]] = made.lines[row["step"], row["profile"]]
            line.calls.add(row["call"])
        elif row["n"] in open_:
            line = open_.pop(row["n"])
            line.input += row.get("input", 0)
            line.output += row.get("output", 0)
            line.usd += row["usd"] or 0.0
            line.unknown += row["usd"] is None
    for line in open_.values():  # never settled: its agent was killed, and it may be billed
        line.unknown += 1


def _document(path: Path) -> Mapping[str, Any]:
    try:
        found = files.read_json(path)
    except (files.BadFile, FileNotFoundError):
        return {}
    return found if isinstance(found, dict) else {}
