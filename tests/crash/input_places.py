"""What may stand in the place of a run's own files and folders: links out of the run, FIFOs, files for folders.

Each thing is put in each place of its own copy of a mailbox or of a run, which is then served to its end.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from agents._run import tidy
from bus import files, tries
from bus.claim import Claim
from bus.files import BadFile
from bus.mailbox import Conflict, Mailbox
from bus.run import RunError
from bus.schema import Invalid
from tests.crash.canary import FACTS, Canary
from tests.crash.input_catalogue import STEP, listen, request

SHOWN = 8  # of what is broken
TRIES = 4  # one more than a request has
REFUSED = (BadFile, Invalid, RunError, Conflict)  # what the bus may say; anything else is a traceback for a person

IN_A_STEP = (  # "." is the mailbox itself
    ". inbox work outbox dead outbox/r1 outbox/r1/reply.json dead/r1.json work/r1 work/r1/kept work/r1/try-1 "
    "work/r1/try-1/crash.json work/r1/try-1/before.json work/r1/retried-after-1.json"
).split()
IN_A_SERVICE = ". inbox work outbox dead outbox/r1.json dead/r1.json work/r1 work/r1/try-1".split()
AT_WORK = "out out/a.txt out/more out/reply.json crash.json before.json ../kept".split()  # in the folder of the try


def link_to_file(path: Path, outside: Path) -> None:
    """A link to a file outside that would be right here, where there is one."""
    path.symlink_to(outside / path.name if (outside / path.name).is_file() else outside / "canary.json")


Plant = Callable[[Path, Path], object]
THINGS: dict[str, Plant] = {
    "a file": lambda path, outside: path.write_text("x"),
    "an empty file": lambda path, outside: path.touch(),
    "a list": lambda path, outside: path.write_text("[1, [2]]"),
    "an object": lambda path, outside: path.write_text('{"kind": ["error"], "message": 1, "request_sha256": 1}'),
    "a folder": lambda path, outside: path.mkdir(),
    "a link to a folder outside": lambda path, outside: path.symlink_to(outside),
    "a link to a folder outside with no reply": lambda path, outside: path.symlink_to(outside / "bare"),
    "a link to a file outside": link_to_file,
    "a link to nothing": lambda path, outside: path.symlink_to(outside / "nothing"),
    "a link to itself": lambda path, outside: path.symlink_to(path.name),
    "a FIFO": lambda path, outside: os.mkfifo(path),
    "a socket": lambda path, outside: listen(path),
}
OF_ROOT: dict[str, Plant] = {
    "/dev/zero": lambda path, outside: os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5)),
}
CLOSED: dict[str, Plant] = {
    "a file of mode 0000": lambda path, outside: path.touch(mode=0),
    "a folder of mode 0000": lambda path, outside: path.mkdir(mode=0),
}


def put_there(path: Path, plant: Plant, outside: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    plant(path, outside)


class Scene:
    """One thing in one place of one mailbox with two requests; `broken()` serves it and says what is wrong."""

    def __init__(self, folder: Path, kind: str, place: str, plant: Plant, at_work: bool):
        self.folders, self.place, self.plant, self.at_work = kind == "step", place, plant, at_work
        self.run, self.canary = folder / "run", Canary(folder / "outside", STEP)
        self.path = self.run / (STEP if self.folders else "echo")
        box = self.open()
        for id in ("r1", "r2"):
            box.put(id, request(id))
        box.close()
        if not at_work:
            put_there(self.path / place, plant, self.canary.folder)

    def open(self) -> Mailbox:
        schemas: dict[str, Any] = {} if self.folders else {"request": None, "reply": None}
        return Mailbox(self.path, folders=self.folders, durable=False, **schemas)

    def broken(self) -> str:
        try:
            box = self.open()
        except REFUSED as error:
            if str(self.path) not in str(error):
                return f"opening says {error}, which does not name {self.path}"
            return self.canary.harm(self.run)
        try:
            return self.serve(box)
        finally:
            box.close()

    def serve(self, box: Mailbox) -> str:
        beside = files.exists("r2.json", box.inbox_fd)  # else what was put in its place took it away
        tidy(box)
        for _ in range(TRIES):
            self.look(box)
            for claim in box.claims():
                self.work(claim)
            box._not_before.clear()  # the wait after a failure passes
        if beside and box.reply("r2") is None:
            return f"r2 beside it is {box.state('r2')}"
        if beside and (why := self.end(box)):
            return why
        for call in (box.revive, box.withdraw):
            with contextlib.suppress(PermissionError, *REFUSED):
                call("r1")
        return self.canary.harm(self.run)

    def look(self, box: Mailbox) -> None:
        """Every question that may be asked of a mailbox; the answers may be refusals, and nothing else."""

        def tried(id: str) -> object:
            return tries.history(box.work(id)), tries.exhausted(box.work(id), box.tries)

        box.listing()
        for call in (box.state, box.answered, box.is_dead, box.reply, box.answered_hash, tried):
            with contextlib.suppress(*REFUSED):
                call("r1")
        with contextlib.suppress(*REFUSED):
            box.put("r1", request("r1"))

    def work(self, claim: Claim) -> None:
        """What an agent does with a claim, whatever comes of it."""
        try:
            if not claim.mailbox.folders:
                claim.commit_file({"echo": claim.request})
                return
            folder = claim.begin()
            if self.at_work and claim.id == "r1":
                put_there(folder / self.place, self.plant, self.canary.folder)
            if not self.at_work or claim.id != "r1":
                (folder / "out" / "a.txt").write_text(claim.id)
            claim.commit_folder(FACTS)
        except (OSError, *REFUSED) as error:
            with contextlib.suppress(OSError, *REFUSED):  # an agent says so, and tries again later, or ends
                claim.fail({"kind": "error", "message": f"{type(error).__name__}: {error}", "where": STEP})
            claim.release()

    def end(self, box: Mailbox) -> str:
        """r1 is answered, or dead with a letter that names a file, or what is there is refused aloud."""
        try:
            if (state := box.state("r1")) == "done" and box.reply("r1") is not None:
                return ""
        except REFUSED as error:
            return "" if "r1" in str(error) else f"its reply is refused by {error}, which names no file"
        if state != "dead":
            return f"r1 is {state} after {TRIES} looks, neither answered nor dead"
        if self.place == "dead/r1.json":
            return ""
        message = json.loads((self.path / "dead/r1.json").read_bytes())["message"]
        return "" if "r1" in message or self.at_work else f"its letter says {message!r}, which names no file"


def scenes() -> list[tuple[str, str, bool]]:
    """(kind of mailbox, place, whether it is put there while the request is worked on)."""
    found = [("step", place, False) for place in IN_A_STEP] + [("service", place, False) for place in IN_A_SERVICE]
    return found + [("step", place, True) for place in AT_WORK]


def some(found: list[str]) -> str:
    """What is broken, in one line that can still be read."""
    more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "; ".join(found[:SHOWN]) + more


def tried(where: str, trial: Callable[[], str]) -> list[str]:
    """[what is broken], with the place; an exception that no caller of the bus expects is one of these."""
    try:
        why = trial()
    except (*REFUSED, OSError, TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}"
    return [f"{where}: {why}"] if why else []


def broken_by(folder: Path, kind: str, place: str, plant: Plant, at_work: bool) -> str:
    return Scene(folder, kind, place, plant, at_work).broken()


def in_mailboxes(folder: Path, pick: Callable[[], dict[str, Plant]]) -> dict[str, Any]:
    """`pick()` things in every place of a mailbox."""
    broken, count = [], 0
    for kind, place, at_work in scenes():
        for what, plant in pick().items():
            where, count = f"{what} as {place} of a {kind}{' at work' if at_work else ''}", count + 1
            broken += tried(where, partial(broken_by, folder / str(count), kind, place, plant, at_work))
    return {"broken": some(broken), "count": count}
