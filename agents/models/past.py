"""What was attempted for calls that have no reply yet: a later try goes on from there, and its reply tells of it.

Attempts of this process are told in full; those of one that was stopped or killed as its ledger knows them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.models.ledger import NAME, Tally
from agents.models.profile import Profile

Attempt = dict[str, Any]  # as called.v1 has it
LOST = "lost"  # how an attempt ended whose process was killed
SAID = "of an agent that ended before it could reply"


@dataclass
class Past:
    """One call's attempts so far. `seen`: {profile: how many answers it had given when it was first asked this}."""

    attempts: list[Attempt] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)

    @property
    def in_vain(self) -> int:
        """Attempts that a server took, perhaps at a price, and did not answer."""
        return sum(one["usd"] is None and one["tokens"] is None for one in self.attempts)


def unanswered(folder: Path, enabled: Mapping[str, Profile]) -> dict[str, Past]:
    """{call: its past} of an `llm` mailbox's calls that were attempted and have no reply."""
    found: dict[str, Past] = defaultdict(Past)
    answered = {path.stem for path in (folder / "outbox").glob("[!.]*.json")}
    open_: dict[int, Attempt] = {}
    for line in Tally(folder / NAME).lines():
        if line["call"] in answered:
            continue
        if line["event"] == "reserve":
            one = enabled.get(line["profile"])
            known = {"profile": line["profile"], "model": one.model if one else "", "status": None, "how": LOST}
            open_[line["n"]] = {**known, "said": SAID, "seconds": 0.0, "usd": None, "tokens": None}
            found[line["call"]].attempts.append(open_[line["n"]])
        elif made := open_.pop(line["n"], None):
            made |= {"how": line.get("how", "") or LOST, "usd": line["usd"], "tokens": _tokens(line)}
    return dict(found)


def _tokens(line: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the server counted; nothing for what it did not answer."""
    told = {key: line[key] for key in ("input", "output", "cached", "counted") if key in line}
    return told if len(told) == 4 and told["input"] + told["output"] else None
