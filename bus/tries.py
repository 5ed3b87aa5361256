"""The tries at one request: numbered folders, what they left, and when it is enough.

work/ID/kept/                  parts that the next try goes on with
work/ID/try-1/before.json      what kept/ held when it began, if anything
work/ID/try-1/crash.json       how it failed; none: it was killed
work/ID/retried-after-3.json   a dead letter that a person brought back: tries up to 3 no longer count
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bus import files, schema

RETRIED = "retried-after-"
_TRY = re.compile(r"try-([0-9]{1,6})")
_MARK = re.compile(RETRIED + r"([0-9]{1,6})\.json")
DEATH = {"kind": "death", "message": "ended by a signal"}  # what a try with no (whole) crash.json says
DEATHS = 5  # deaths by signal in a row that kept nothing new: a request that kills its agent, not a busy machine
FREE = frozenset({"disk", "stopped", "repaired"})  # do not count: it waits, it was asked to, it was mended
_NONE = (FileNotFoundError, NotADirectoryError, PermissionError)  # what is not ours to read is not there
MAX_WAIT_S = 60.0  # between two tries; the first waits 1 s, then double
DISK_WAIT_S = 30.0  # a full disk is looked at again twice a minute


@dataclass(frozen=True)
class Try:
    """One try: how it ended (`crash`: error.v1), and the names that kept/ held when it began."""

    number: int
    crash: dict[str, Any]
    before: frozenset[str]

    @property
    def kind(self) -> str:
        return str(self.crash["kind"])

    @property
    def failed(self) -> bool:
        """True if it counts against the tries that a request has."""
        return self.kind not in FREE and self.kind != "death"

    def summary(self) -> dict[str, Any]:
        found = {"kind": self.kind, "message": self.crash["message"], "seconds": self.crash.get("seconds")}
        return {"n": self.number, **found}


def all_tries(work: Path) -> list[Try]:
    """Every try at a request, in order; also those before a dead letter was brought back."""
    return [_read(work / f"try-{number}", number) for number in sorted(_numbers(work, _TRY))]


def history(work: Path) -> list[Try]:
    """The tries that count: those since the last dead letter was brought back."""
    since = max(_numbers(work, _MARK), default=0)
    return [one for one in all_tries(work) if one.number > since]


def _numbers(work: Path, form: re.Pattern[str]) -> list[int]:
    try:
        folder_fd = os.open(work, files.FOLDER)  # of a link that stands in its place nothing is read
    except _NONE:
        return []
    try:
        found = [form.fullmatch(name) for name in files.names(folder_fd)]
        return [int(one[1]) for one in found if one and (form is _MARK or files.kind(one[0], folder_fd) == "folder")]
    finally:
        os.close(folder_fd)


def _read(folder: Path, number: int) -> Try:
    """One try, by what lies in its folder: of what is missing or torn, its writer died."""
    crash, before = DEATH, frozenset[str]()
    with contextlib.suppress(*_NONE, files.BadFile, schema.Invalid):
        crash = dict(schema.check(files.read_json(folder / "crash.json"), "error.v1"))
    with contextlib.suppress(*_NONE, files.BadFile, TypeError):
        before = frozenset(files.read_json(folder / "before.json"))
    return Try(number, crash, before)


def kept(work: Path) -> frozenset[str]:
    """The names of what was kept, folders included; drafts are not kept yet."""
    found, root = set(), work / "kept"
    if os.path.islink(work) or os.path.islink(root):
        return frozenset()
    with contextlib.suppress(*_NONE):
        for parent, dirs, names in os.walk(root, onerror=files.unreadable):
            dirs[:] = [one for one in dirs if one[0] != "."]
            found |= {os.path.relpath(os.path.join(parent, one), root) for one in dirs + names if one[0] != "."}
    return frozenset(found)


def make(folder: Path) -> None:
    """Make a folder of a request's work, or take the one that is there; raises BadFile for a link in its place."""
    try:
        folder.mkdir()
    except FileExistsError:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise files.BadFile(f"{folder}: is no folder; remove it, and what it leads to stays as it is") from None


def begin(work: Path) -> Path:
    """Make the folder of a new try and note what was kept before it; returns the folder."""
    make(work)
    number = max(_numbers(work, _TRY), default=0) + 1
    while os.path.lexists(folder := work / f"try-{number}"):  # where locks do not reach, another may have begun it
        number += 1
    try:
        folder.mkdir()
    except OSError:
        if not os.path.lexists(folder):
            raise
        return begin(work)
    try:
        if before := sorted(kept(work)):
            files.replace(folder / "before.json", files.canonical(before))
    except OSError:
        files.remove_tree(folder)  # a try that could not begin is no death
        raise
    return folder


def exhausted(work: Path, limit: int) -> str | None:
    """Why no further try is due, in words, or None: `limit` failures, or five deaths in a row that kept nothing new."""
    known = history(work)
    failures = [one for one in known if one.failed]
    if failures and len(failures) >= limit:
        return f"{len(failures)} tries failed; the last: {failures[-1].crash['message']}"
    deaths, after = 0, kept(work)
    for one in reversed(known):
        if after - one.before or one.kind not in {"death", *FREE}:  # it got on, or failed in another way
            break
        deaths += one.kind == "death"
        after = one.before
    if deaths >= DEATHS:
        return f"its agent died {deaths} times in a row while working on it, and kept nothing new"
    return None


def wait_s(work: Path, kind: str) -> float:
    """Seconds until the next try."""
    if kind in FREE:
        return DISK_WAIT_S if kind == "disk" else 0.0
    return min(MAX_WAIT_S, 2.0 ** sum(one.failed for one in history(work)))
