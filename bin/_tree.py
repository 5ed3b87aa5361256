"""Walk a run's folder without following a link, and say what does not belong there."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import _secrets
from agents._ask import REPLAY, SERVICE
from agents._original import FOLDER as ORIGINAL
from agents.models.ledger import NAME as LEDGER
from bus import files
from bus.mailbox import ID, PARTS
from bus.run import Run

KNOWN = frozenset(
    "goal.md run.json ROUNDS HOLD config monitor supervisor MANIFEST.json lineage.json packed.json".split()
)
BOOKS = frozenset({LEDGER, REPLAY})  # files of the `llm` mailbox beside its parts
FOLDERS = frozenset({ORIGINAL})  # and what else it has
STALE = "stale"  # beside a mailbox's parts: replies that were set aside
KINDS = {stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}


class Finding(NamedTuple):
    """One thing that was found: where in the run, what; `harm` is False for what a healthy run may have too."""

    where: str
    what: str
    harm: bool = True


class Entry(NamedTuple):
    """A file or folder of a run: its name relative to the run, and its own (not a link's) status."""

    name: str
    status: os.stat_result

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.status.st_mode)

    @property
    def kind(self) -> str:
        return KINDS.get(stat.S_IFMT(self.status.st_mode), "a device")


def ignore(name: str) -> None:
    """What went away while a run was walked may be left out."""


def children(root: Path, under: str = "", gone: Callable[[str], None] = ignore) -> list[Entry]:
    """What lies in the folder root/under, sorted; what goes away meanwhile is left out, and `gone` is told its name."""
    found = []
    try:
        with os.scandir(root / under) as entries:
            names = sorted(one.name for one in entries)
    except FileNotFoundError:
        gone(under)
        return []
    for name in names:
        name = f"{under}/{name}" if under else name
        try:
            found.append(Entry(name, os.lstat(root / name)))
        except FileNotFoundError:
            gone(name)
    return found


def walk(root: Path, under: str = "", gone: Callable[[str], None] = ignore) -> Iterator[Entry]:
    """Everything below the folder root/under, sorted, folders before what is in them; `gone` as in `children`."""
    for entry in children(root, under, gone):
        yield entry
        if entry.is_folder:
            yield from walk(root, entry.name, gone)


def mailboxes(run: Run) -> list[str]:
    """The names of a run's steps, in order, and then of its services."""
    return [step.name for step in run.steps] + sorted(run.services)


def is_plain(mailbox: Path) -> bool:
    """True if a mailbox and its parts are folders (or not there yet), not links to some: only then may it be opened."""
    parts = [mailbox, *(mailbox / part for part in PARTS)]
    return all(not path.is_symlink() and (path.is_dir() or not path.exists()) for path in parts)


def missing(mailbox: Path) -> list[str]:
    """The parts that a mailbox lacks. Opening it would make them, so whoever only looks must ask before."""
    return [part for part in PARTS if not (mailbox / part).is_dir()]


def is_leftover(name: str) -> bool:
    """True for a draft that a killed process left, and what is in it; nobody reads those."""
    parts = name.split("/")
    if len(parts) > 3 and parts[1] in ("outbox", STALE):
        return False  # inside a reply every name is an artifact
    return any(part.startswith(files.DRAFT) for part in parts)


def findings(run: Run, live: bool, at: Callable[[str], None], own: Sequence[bytes] = ()) -> Iterator[Finding]:
    """Links, devices, foreign names, leftovers and what looks like a secret, or is one of `own`, over a whole run."""
    known = {name: name not in run.services for name in mailboxes(run)}
    for entry in walk(run.folder):
        at(f"looking at {entry.name}")
        if not entry.is_file and not entry.is_folder:
            yield Finding(entry.name, f"is {entry.kind}; a run holds files and folders alone: remove it")
        elif is_leftover(entry.name):
            if not live and entry.name.rpartition("/")[2].startswith(files.DRAFT):
                yield Finding(entry.name, "is a draft that a killed writer left; nobody reads it", harm=False)
        elif what := foreign(entry, known):
            yield Finding(entry.name, what)
        for what in _secrets.new_in_name(entry.name, own):
            yield Finding(entry.name, f"its name {what}; rename it")
        if entry.is_file:
            yield from secrets(run.folder, entry.name, own)


def foreign(entry: Entry, known: dict[str, bool]) -> str:
    """Why a name has no place in a run; "" if it has one. `known`: mailbox -> are its replies folders."""
    parts = entry.name.split("/")
    if len(parts) == 1:
        return "" if parts[0] in KNOWN or parts[0] in known else "is no part of a run; move it away"
    if parts[0] not in known:
        return ""
    if len(parts) == 2:
        own = parts[0] == SERVICE and parts[1] in (FOLDERS if entry.is_folder else BOOKS)
        part = own or (entry.is_folder and parts[1] in (*PARTS, STALE))
        return "" if part else "is no part of a mailbox; move it away"
    if len(parts) > 3 or parts[1] == STALE or (parts[0] == SERVICE and parts[1] in FOLDERS):
        return ""
    if parts[1] == "work":
        return "" if ID.fullmatch(parts[2]) and entry.is_folder else "is not the folder of an ID; move it away"
    as_folder = parts[1] == "outbox" and known[parts[0]]
    id = parts[2] if as_folder else parts[2].removesuffix(".json")
    if ID.fullmatch(id) and entry.is_folder == as_folder and (as_folder or parts[2].endswith(".json")):
        return (
            "" if entry.is_folder or entry.status.st_nlink == 1 else "has another name (a hard link); copy it instead"
        )
    return f"is not {'the folder of an ID' if as_folder else 'ID.json'}; IDs are 1 to 100 of a-z 0-9 _ -: move it away"


def secrets(root: Path, name: str, own: Sequence[bytes]) -> Iterator[Finding]:
    """What looks like a secret in one file, or is one of `own`."""
    scanner = _secrets.Scanner(own)
    try:
        with open(files.open_regular(root / name), "rb", buffering=0) as file:
            while block := file.read(files.HASH_BLOCK):
                yield from (Finding(name, f"{what}; take it out") for what in scanner.feed(block))
    except FileNotFoundError:
        return
    except (OSError, files.BadFile) as error:
        yield Finding(name, f"cannot be read: {getattr(error, 'strerror', None) or error}; see who owns it")
        return
    yield from (Finding(name, f"{what}; take it out") for what in scanner.end())
