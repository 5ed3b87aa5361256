"""Compare two copies of one run: which requests did they answer differently?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import _tree
from _lineage import SHOWN, relation
from _tree import Finding
from bus import files, schema
from bus.mailbox import Mailbox, order
from bus.run import Run

MEASURED = frozenset({"seconds", "cpu_s", "gpu_s", "usd", "wait_s"})  # how long and how dear an answer was, not what
NAMED = 3  # artifacts, or IDs, that one line names
UNREADABLE = (OSError, files.BadFile, schema.Invalid)


class Comparison:
    """Two copies, side by side: iterate `findings()`, then read the counts."""

    def __init__(self, here: Run, there: Run, at: Callable[[str], None]) -> None:
        self.here, self.there, self.at = here, there, at
        self.both = self.differing = 0

    def relation(self) -> str:
        return relation(self.here, self.there)

    def findings(self) -> Iterator[Finding]:
        mine, theirs = (_tree.mailboxes(run) for run in (self.here, self.there))
        for name in dict.fromkeys([*mine, *theirs]):
            if name not in mine or name not in theirs:
                yield Finding(name, f"is a mailbox {'here' if name in mine else 'there'} alone", harm=False)
                continue
            boxes = (self.here.mailbox(name), self.there.mailbox(name))
            if boxes[0].folders != boxes[1].folders:
                yield Finding(name, "is a step in one and a service in the other")
                continue
            yield from self.mailbox(*boxes)

    def mailbox(self, here: Mailbox, there: Mailbox) -> Iterator[Finding]:
        mine, theirs = (box.listing().replies for box in (here, there))
        for id in sorted(mine & theirs, key=order):
            self.at(f"comparing {here.name} {id}; {self.both:,} so far")
            self.both += 1
            try:
                what = differs(here, there, id)
            except UNREADABLE as error:
                what = f"cannot be compared: {error}; see bin/check of each run"
            if what:
                self.differing += 1
                yield Finding(f"{here.name} {id}", what)
        for ids, where in ((mine - theirs, "here"), (theirs - mine, "there")):
            if ids:
                yield Finding(here.name, f"answered {where} alone: {named(sorted(ids, key=order))}", harm=False)


def differs(here: Mailbox, there: Mailbox, id: str) -> str:
    """In which way two replies differ, in words; "" if they say the same."""
    mine, theirs = here.reply(id), there.reply(id)
    if mine == theirs:
        return ""
    if mine is None or theirs is None:
        return f"has no reply.json {'here' if mine is None else 'there'}; see bin/check of each run"
    asked = [str(one.get("request_sha256")) for one in (mine, theirs)]
    if asked[0] != asked[1]:
        return f"was asked something else: request sha256 {asked[0][:SHOWN]} here, {asked[1][:SHOWN]} there"
    if here.folders:
        return artifacts(mine["artifacts"], theirs["artifacts"])
    known = [answer(one) for one in (mine, theirs)]
    keys = [key for key in dict.fromkeys([*known[0], *known[1]]) if known[0].get(key) != known[1].get(key)]
    return f"answered differently: {named(keys)}" if keys else ""


def artifacts(mine: dict[str, Any], theirs: dict[str, Any]) -> str:
    """Which artifacts of a step's two replies are not the same bytes."""
    found = []
    for name in sorted({*mine, *theirs}):
        sums = [one[name]["sha256"][:SHOWN] if name in one else "none" for one in (mine, theirs)]
        if sums[0] != sums[1]:
            found.append(f"{name} (sha256 {sums[0]} here, {sums[1]} there)")
    return f"answered differently: {named(found)}" if found else ""


def answer(document: Any) -> Any:
    """A service's reply without what was measured of it."""
    if isinstance(document, dict):
        return {key: answer(value) for key, value in document.items() if key not in MEASURED}
    return [answer(one) for one in document] if isinstance(document, list) else document


def named(things: list[str]) -> str:
    more = f" and {len(things) - NAMED:,} more" if len(things) > NAMED else ""
    return ", ".join(things[:NAMED]) + more
