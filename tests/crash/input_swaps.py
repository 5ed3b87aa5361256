"""What is swapped while it is read: a reply for another or for a link, a request for a link, a folder for a link."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from agents._run import create_run, tidy
from bus import files
from bus.mailbox import PARTS, Mailbox
from tests.crash.canary import FACTS, Canary
from tests.crash.child import in_child
from tests.crash.input_catalogue import STEP, request
from tests.crash.input_places import REFUSED, Scene, some, tried
from tests.crash.input_places_run import FLOW
from tests.crash.row import Row

PATIENCE_S = 120
QUICK_S, FULL_S = 0.7, 8.0  # seconds of swapping; both processes are busy
ENOUGH = 20  # times that each of two replies must be read, or the swapping showed nothing
MOMENT_S = 0.0004  # the longest that one state stays; shorter than a look at a mailbox
States = list[tuple[Callable[[], object], Callable[[], object]]]  # how each is entered and left


def swapping(states: States, seed: int) -> int:
    """A process that enters and leaves random states for ever; returns its pid."""
    pid = os.fork()
    if pid == 0:
        chance = random.Random(seed)
        try:
            while True:
                enter, leave = chance.choice(states)
                enter()
                time.sleep(chance.uniform(0, MOMENT_S))
                leave()
        finally:
            traceback.print_exception(*sys.exc_info())
            os._exit(1)
    return pid


def watched(pid: int, look: Callable[[], str], enough: Callable[[], bool], seconds: float) -> str:
    """Look for `seconds`, and until it is enough; what was wrong at the first wrong look, or ""."""
    began, why = time.monotonic(), ""
    try:
        while not why and (time.monotonic() < began + seconds or not enough()):
            if time.monotonic() > began + PATIENCE_S / 2:
                return "the swapping process showed too little"
            why = look()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return why


def replies(folder: Path, seed: int, seconds: float) -> dict[str, Any]:
    """outbox/r1 is one reply, another, a link to a folder outside, or nothing; a reader reads."""
    run = create_run(folder / "small", "a goal\n", 1, FLOW, {}, "1")
    box, canary, seen = run.mailbox(STEP), Canary(folder / "outside", STEP), Counter[str]()
    outbox, aside, both = box.folder / "outbox", folder / "aside", {}
    asked = {"request": request("r1"), "request_sha256": files.sha256(files.canonical(request("r1")))}
    for n, name in enumerate("ab"):
        facts = {**FACTS, "seconds": n + 1.0, "usd": n + 1.0, "artifacts": {}, "tries": [], **asked}
        both[name] = {"schema": "reply.v1", "id": "r1", "step": STEP, **facts}
        (aside / name).mkdir(parents=True)
        (aside / name / "reply.json").write_bytes(files.pretty(both[name]))

    def look() -> str:
        for read in (lambda: box.reply("r1"), lambda: run.reply(STEP, 1), lambda: run.listings()[0].get((STEP, 1))):
            try:
                reply = read()
            except REFUSED:
                seen["refused"] += 1
                continue
            name = next((name for name, one in both.items() if one == reply), "nothing" if reply is None else "other")
            seen[name] += 1
            if name == "other":
                return f"neither of the two was read, but {reply}"
        for ask in (box.answered, box.state, box.answered_hash, lambda id: box.put(id, request(id))):
            with contextlib.suppress(*REFUSED):
                ask("r1")
        return ""

    mine = outbox / "r1"
    states: States = [(partial(os.rename, aside / name, mine), partial(os.rename, mine, aside / name)) for name in both]
    states.append((partial(os.symlink, canary.folder, mine), mine.unlink))
    why = watched(swapping(states, seed), look, lambda: min(seen["a"], seen["b"]) > ENOUGH, seconds)
    return {"broken": why or canary.harm(run.folder), "seen": dict(seen)}


def requests(folder: Path, seed: int, seconds: float) -> dict[str, Any]:
    """inbox/q.json is a good request, a link to one outside, a FIFO, or nothing; an agent serves."""
    box = Mailbox(folder / "run" / "echo", folders=False, request=None, reply=None, durable=False)
    canary, seen, inbox = Canary(folder / "outside", STEP), Counter[str](), box.folder / "inbox"
    (canary.folder / "q.json").write_text(f'{{"id": "q", "word": "{canary.word}"}}')
    canary.seal()

    def look() -> str:
        for claim in box.claims():
            seen["claimed"] += 1
            if claim.request != request("q"):
                return f"it was asked {claim.request}"
            claim.release()
        if box.is_dead("q"):
            seen["dead"] += 1
            box.revive("q")
        box.state("q")
        return ""

    def good() -> None:
        with contextlib.suppress(FileExistsError):
            files.publish(box.inbox_fd, "q.json", files.canonical(request("q")), durable=False)

    def gone() -> None:
        os.unlink(inbox / "q.json")

    states: States = [
        (good, gone),
        (good, gone),
        (lambda: os.symlink(canary.folder / "q.json", inbox / "q.json"), gone),
    ]
    states.append((lambda: os.mkfifo(inbox / "q.json"), gone))
    why = watched(swapping(states, seed), look, lambda: min(seen["claimed"], seen["dead"]) > ENOUGH, seconds)
    return {"broken": why or canary.harm(box.folder), "seen": dict(seen)}


def folders(folder: Path) -> dict[str, Any]:
    """A part of a mailbox that is open, or the mailbox itself, becomes a link to a folder outside."""
    broken, count = [], itertools.count()
    for kind in ("step", "service"):
        for part in (".", *PARTS):
            broken += tried(f"{part} of a {kind}", partial(swapped, folder / str(next(count)), kind, part))
    return {"broken": some(broken), "count": next(count)}


class Swapped(Scene):
    """A scene whose mailbox is opened before the part is swapped."""

    def __init__(self, folder: Path, kind: str, part: str) -> None:
        super().__init__(folder, kind, "nothing", lambda path, outside: None, at_work=False)
        self.part, self.box = self.path / part, self.open()
        for one in PARTS:
            shutil.copytree(self.canary.folder / "try-1", self.canary.folder / one / "r1" / "try-1")
        self.canary.seal()

    def broken(self) -> str:
        os.rename(self.part, f"{self.path}-aside" if self.part == self.path else self.part.with_suffix(".aside"))
        self.part.symlink_to(self.canary.folder if self.part == self.path else self.canary.folder / self.part.name)
        for act in (self.ask_more, self.serve_all, self.serve_all, partial(tidy, self.box), self.bury_and_revive):
            with contextlib.suppress(*REFUSED):  # it says which folder is not its own
                act()
        self.box.close()
        return self.canary.harm(self.run)

    def ask_more(self) -> None:
        self.box.put("r3", request("r3"))

    def serve_all(self) -> None:
        self.look(self.box)
        for claim in self.box.claims():
            self.work(claim)
        self.box._not_before.clear()

    def bury_and_revive(self) -> None:
        self.box.bury("r4", "test", "a test")
        self.box.revive("r4")


def swapped(folder: Path, kind: str, part: str) -> str:
    return Swapped(folder, kind, part).broken()


def run(folder: Path, seed: int, quick: bool) -> Iterator[Row]:
    seconds = QUICK_S if quick else FULL_S
    for name, promise, trial in (
        (
            "replies",
            "a reply that is swapped while it is read is the one or the other or an error; a link is not followed",
            replies,
        ),
        (
            "requests",
            "a request that is swapped while it is claimed is the good one or dead; a link is not followed",
            requests,
        ),
    ):
        place = folder / name
        place.mkdir(parents=True)
        result = in_child(partial(trial, place, seed, seconds), PATIENCE_S)
        seen = ", ".join(f"{count} times {what}" for what, count in sorted(result.get("seen", {}).items()))
        yield Row(promise, f"{seconds:g} s of swaps: {seen}", result["broken"])
    result = in_child(lambda: folders(folder / "folders"), PATIENCE_S)
    yield Row(
        "a mailbox that is open goes on with its own folders when one is swapped for a link, or refuses by name; what "
        "that leads to is neither read nor changed nor removed",
        f"{result.get('count')} swaps of a mailbox and of its parts, in a step and in a service",
        result["broken"],
    )
