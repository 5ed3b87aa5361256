"""Compare two copies of one run: which requests did they answer differently?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import _tree
from _lineage import SHOWN, relation
from _tree import Finding
from bus import files, schema
from bus.mailbox import Mailbox, order
from bus.run import Run

# How long and how dear an answer was, and what the machine had free, not what was answered.
MEASURED = frozenset({"seconds", "cpu_s", "gpu_s", "usd", "wait_s", "retrieved", "disk_free_bytes"})
REPORT = "report"  # the agent whose pages tell the times and costs of all other steps
PAGES = (".md", ".html")
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
        pages = not here.folders or self.here.step(here.name).agent != REPORT
        for id in sorted(mine & theirs, key=order):
            self.at(f"comparing {here.name} {id}; {self.both:,} so far")
            self.both += 1
            try:
                what = differs(here, there, id, pages)
            except UNREADABLE as error:
                what = f"cannot be compared: {error}; see bin/check of each run"
            if what:
                self.differing += 1
                yield Finding(f"{here.name} {id}", what)
        for ids, where in ((mine - theirs, "here"), (theirs - mine, "there")):
            if ids:
                yield Finding(here.name, f"answered {where} alone: {named(sorted(ids, key=order))}", harm=False)


def differs(here: Mailbox, there: Mailbox, id: str, pages: bool = True) -> str:
    """In which way two replies differ, in words; "" if they say the same. Without `pages` those are not compared."""
    mine, theirs = here.reply(id), there.reply(id)
    if mine == theirs:
        return ""
    if mine is None or theirs is None:
        return f"has no reply.json {'here' if mine is None else 'there'}; see bin/check of each run"
    asked = [str(one.get("request_sha256")) for one in (mine, theirs)]
    if asked[0] != asked[1]:
        return f"was asked something else: request sha256 {asked[0][:SHOWN]} here, {asked[1][:SHOWN]} there"
    if here.folders:
        folders = [box.folder / "outbox" / id for box in (here, there)]
        return artifacts(mine["artifacts"], theirs["artifacts"], folders, pages)
    known = [answer(one) for one in (mine, theirs)]
    keys = [key for key in dict.fromkeys([*known[0], *known[1]]) if known[0].get(key) != known[1].get(key)]
    return f"answered differently: {named(keys)}" if keys else ""


def artifacts(mine: dict[str, Any], theirs: dict[str, Any], folders: list[Path], pages: bool) -> str:
    """Which artifacts of a step's two replies, in their folders, do not say the same."""
    found = []
    for name in sorted({*mine, *theirs}):
        sums = [one[name]["sha256"][:SHOWN] if name in one else "none" for one in (mine, theirs)]
        if sums[0] == sums[1]:
            continue
        if "none" in sums or not (same_but_measured(name, folders) or (name.endswith(PAGES) and not pages)):
            found.append(f"{name} (sha256 {sums[0]} here, {sums[1]} there)")
    return f"answered differently: {named(found)}" if found else ""


def same_but_measured(name: str, folders: list[Path]) -> bool:
    """True for two JSON documents, or files of JSON lines, that differ in nothing but what was measured."""
    if not name.endswith((".json", ".jsonl")):
        return False
    data = [files.read_bytes(folder / files.inside(name), limit=sys.maxsize) for folder in folders]
    lines = [one.splitlines() if name.endswith(".jsonl") else [one] for one in data]
    rows = [[answer(files.parse(line, name)) for line in own] for own in lines]
    return bool(rows[0] == rows[1])


def answer(document: Any) -> Any:
    """A service's reply without what was measured of it."""
    if isinstance(document, dict):
        return {key: answer(value) for key, value in document.items() if key not in MEASURED}
    return [answer(one) for one in document] if isinstance(document, list) else document


def named(things: list[str]) -> str:
    more = f" and {len(things) - NAMED:,} more" if len(things) > NAMED else ""
    return ", ".join(things[:NAMED]) + more
