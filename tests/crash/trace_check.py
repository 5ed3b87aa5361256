"""What a mailbox must hold after a death or a disk error, whenever it came. Looks at the files, not only at the bus.

Each check returns what is wrong, in one line, or "".
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from agents._run import sweep_folder
from bus import files, schema
from tests.crash.trace_jobs import SERVICE, STEP, Kind, answer, recover, request

Replies = dict[int, tuple[str, bytes]]  # inode: path, bytes
MEMORY = 512 * 1024 * 1024  # bytes free that these tests want of a tmpfs; they take a fifth of it
_HIDDEN = re.compile(r"(\.(?:draft|new)-)\S*")


@contextlib.contextmanager
def in_memory(folder: Path) -> Iterator[Path]:
    """A folder on a tmpfs where there is one, else `folder`: a kill leaves the same there, and syncing is free."""
    memory = Path("/dev/shm")
    if memory.is_mount() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > MEMORY:
        with tempfile.TemporaryDirectory(prefix="crash-", dir=memory) as made:
            yield Path(made)
    else:
        yield folder


def visible(folder: Path) -> list[Path]:
    """The names that a reader sees, in order: hidden ones are drafts."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def replies(folder: Path) -> Replies:
    """Every file of every reply below a folder, those that were set aside too."""
    found: Replies = {}
    for parent in [*folder.rglob("outbox"), *folder.rglob("stale")]:
        for top in visible(parent):
            for path in [top, *top.rglob("*")]:
                if path.is_file():
                    found[path.stat().st_ino] = (str(path.relative_to(folder)), path.read_bytes())
    return found


def changed(before: Replies, after: Replies) -> str:
    """A reply never changes and never goes, though a stale one moves."""
    for inode, (name, data) in before.items():
        if inode not in after or after[inode][1] != data:
            return f"{name} has changed"
    return ""


def torn(kind: Kind, folder: Path) -> str:
    """Something that can be read under a name that is not hidden, and is not whole and right."""
    box = folder / (STEP if kind.folders else SERVICE)
    for path in visible(box / "inbox"):
        if path.read_bytes() != files.canonical(request(kind, path.stem)):
            return f"inbox/{path.name} is torn"
    for path in visible(box / "dead"):
        if why := _bad_json(path, "dead.v1"):
            return f"dead/{path.name}: {why}"
    for path in visible(box / "outbox"):
        if why := _bad_folder(path) if kind.folders else _bad_file(kind, path):
            return f"outbox/{path.name}: {why}"
    return next((why for work in visible(box / "work") if (why := _torn_work(work))), "")


def _torn_work(work: Path) -> str:
    """A try's own out/ may hold anything; what tells how it went, and what was kept, is whole."""
    for path in sorted(work.glob("*.json")) + sorted(work.glob("try-*/[!.]*.json")):
        if why := _bad_json(path, ""):
            return f"{path.relative_to(work.parent)}: {why}"
    if any(path.read_text() != answer(work.name) for path in work.glob("kept/[!.]*")):
        return f"{work.name}/kept holds half a part"
    return ""


def _bad_json(path: Path, name: str) -> str:
    try:
        document = files.read_json(path)
        if name:
            schema.check(document, name)
    except (files.BadFile, schema.Invalid) as error:
        return str(error)
    return ""


def _bad_folder(folder: Path) -> str:
    if why := "reply.json is missing" if not (folder / "reply.json").exists() else "":
        return why
    if why := _bad_json(folder / "reply.json", "reply.v1"):
        return why
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    found.pop("reply.json")
    told = json.loads((folder / "reply.json").read_bytes())["artifacts"]
    made = {"answer.txt": answer(folder.name), "more/short.txt": folder.name}
    if {name: path.read_text() for name, path in found.items()} != made:
        return "its artifacts are not what was made"
    if {name: one["sha256"] for name, one in told.items()} != {n: files.sha256(t.encode()) for n, t in made.items()}:
        return f"it tells of {sorted(told)}, but holds {sorted(made)}"
    return ""


def _bad_file(kind: Kind, path: Path) -> str:
    if why := _bad_json(path, ""):
        return why
    document, asked = json.loads(path.read_bytes()), files.canonical(request(kind, path.stem))
    right = document.get("answer") == answer(path.stem) and document.get("request_sha256") == files.sha256(asked)
    return "" if right else "is another answer"


def lost(kind: Kind, folder: Path, acknowledged: Iterable[str], may_die: bool) -> str:
    """A request that was acknowledged, and is in no state, or in one that its files do not bear out."""
    base = folder / (STEP if kind.folders else SERVICE)
    with closing(kind.open(folder)) as box:
        for id in sorted(set(acknowledged)):
            state = box.state(id)
            reply = (base / "outbox" / (f"{id}/reply.json" if kind.folders else f"{id}.json")).exists()
            dead, asked = (base / "dead" / f"{id}.json").exists(), (base / "inbox" / f"{id}.json").exists()
            right = ("done",) if reply else ("dead",) if dead else ("waiting", "failed") if asked else ()
            if state not in right:
                return f"{id} is {state or 'lost'}, but its files say {' or '.join(right) or 'lost'}"
            if dead and not may_die:
                return f"{id} is dead: {(base / 'dead' / f'{id}.json').read_text()[:300]}"
    return ""


def finish(kind: Kind, folder: Path, acknowledged: Iterable[str], may_die: bool) -> str:
    """Let a fresh worker, and after it a person who brings back what is dead, finish all; what is then not right."""
    with closing(kind.open(folder)) as box:
        before = replies(folder)
        recover(box)
        for id in sorted(box.listing().dead if may_die else ()):
            box.revive(id)
            recover(box)
        if why := changed(before, replies(folder)) or torn(kind, folder):
            return f"after recovery, {why}"
        if missing := set(acknowledged) - box.listing().replies:
            return f"after recovery, {min(missing)} is {box.state(min(missing)) or 'lost'}"
        left = [*visible(box.folder / "inbox"), *box.folder.glob("work/*"), *visible(box.folder / "dead")]
        if left:
            return f"after recovery, {left[0].relative_to(box.folder)} is left"
        for folder_fd in (box.inbox_fd, box.outbox_fd, box.dead_fd):
            sweep_folder(folder_fd)
        if hidden := list(box.folder.rglob(".*")):
            return f"after the sweep, {hidden[0].relative_to(box.folder)} is left"
    return ""


def mark(folder: Path) -> str:
    """All that a death leaves: names, modes, links and bytes of a folder, without the random part of hidden names."""
    found = []
    for path in folder.rglob("*"):
        status, data = path.lstat(), path.read_bytes() if path.is_file() else b""
        links = status.st_nlink if data else 0
        found.append((_HIDDEN.sub(r"\1", str(path.relative_to(folder))), status.st_mode, links, files.sha256(data)))
    return files.sha256(repr(sorted(found)).encode())


def copy(folder: Path, to: Path) -> Path:
    """A copy of what a death left, hard links included."""
    made: dict[int, str] = {}

    def one(source: str, target: str) -> str:
        inode = os.stat(source).st_ino
        if inode in made:
            os.link(made[inode], target)
        else:
            made[inode] = shutil.copy2(source, target)
        return target

    return Path(shutil.copytree(folder, to, copy_function=one))
