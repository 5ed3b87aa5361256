"""What one trial found on one file system."""

from __future__ import annotations

from dataclasses import dataclass

DRAFTS = "drafts: `O_TMPFILE` / hard link"
RACED = "one name published by both at once"
LOCK = "the lock, seen from the other client"
FALLS = "it falls when its holder / client is killed"
NOTICED = "put at one, claimed at the other"
SPEED = "put + claim + reply, one client"
EXACTLY_ONE = "exactly one reply, whole, after the storm"
TWICE = "worked on by two at once"
LATE = "a worker stopped before its commit"
LABELS = (DRAFTS, RACED, LOCK, FALLS, NOTICED, SPEED, EXACTLY_ONE, TWICE, LATE)


@dataclass(frozen=True)
class Row:
    """A cell of the table under `label`, what was done in `detail`, and how a promise was broken, "" if it held."""

    label: str
    cell: str
    detail: str
    broken: str = ""
