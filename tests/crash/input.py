"""Bad input: whatever lies in an inbox or in a run, nothing hangs, nothing is followed out of it, nothing goes unsaid.

The parts: what may lie in an inbox (input_catalogue), what may stand in the place of a run's own files (input_places),
what is swapped while it is read (input_swaps), what is written slowly (input_slow), arbitrary bytes (input_fuzz).
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bus import schema
from bus.claim import Claim
from bus.mailbox import Mailbox
from tests.crash import input_agent, input_fuzz, input_places, input_slow, input_swaps
from tests.crash.canary import FACTS, Canary
from tests.crash.child import NOBODY, in_child, peak_bytes
from tests.crash.input_catalogue import BYTES, NAMES, OF_A_STEP, OF_ROOT, QUIRKS, STEP, THINGS, Plant, request
from tests.crash.input_places import CLOSED, in_mailboxes, some
from tests.crash.input_places_run import in_runs
from tests.crash.ram import in_memory
from tests.crash.row import Row

GOOD = 12  # requests beside the bad ones, before and after them in the order of work
SETTLED_S = 30.0  # all must have its end by then; what takes longest is SETTLE_S, one second
PATIENCE_S = 120  # past this a child hangs
MEMORY = 100 << 20  # bytes over what the process held before: a 2 GB file must not be read
MODES = (0o000, 0o200, 0o100, 0o444)  # what its user may not read, or may not write, which the lock needs


def run(folder: Path, seed: int, quick: bool) -> Iterator[Row]:
    yield from inboxes(folder / "inboxes")
    yield unreadable(folder)
    yield from input_slow.run(folder / "slow", seed, quick)
    with in_memory(folder / "places") as place:
        yield from places(place, random.Random(seed), quick)
    yield from input_swaps.run(folder / "swaps", seed, quick)
    yield from input_agent.run(folder / "agent")
    yield from input_fuzz.run(folder / "fuzz", seed, quick)


def open_box(folder: Path, kind: str) -> Mailbox:
    if kind == "step":
        return Mailbox(folder / STEP, durable=False)
    return Mailbox(folder / "echo", folders=False, request=None, reply=None, durable=False)


def answer(claim: Claim) -> None:
    if not claim.mailbox.folders:
        claim.commit_file({"schema": "any.v1", "echo": claim.request})
        return
    (claim.begin() / "out" / "echo.json").write_text(json.dumps(claim.request))
    claim.commit_folder(FACTS)


class Inbox:
    """One mailbox full of bad things, with good requests among them; `broken()` judges what became of each."""

    def __init__(self, run: Path, kind: str, canary: Canary, bad: dict[str, tuple[Plant, str]], names: bool) -> None:
        self.box, self.run, self.kind, self.canary = open_box(run, kind), run, kind, canary
        self.bad: dict[str, tuple[str, str]] = {}  # ID -> (what, what its letter must say)
        self.names = NAMES if names else ()
        self.good = [f"{'a' if n % 2 else 'good'}-{n}" for n in range(GOOD)]
        inbox = self.box.folder / "inbox"
        for n, (what, (plant, words)) in enumerate(bad.items()):
            plant(inbox / f"bad{n}.json", request(f"bad{n}"), canary.folder)
            self.bad[f"bad{n}"] = (what, words)
        for name in self.names:
            with open(os.fsencode(inbox) + b"/" + name, "w") as file:
                json.dump(request("q"), file)
        for id in self.good:
            self.box.put(id, request(id))
        for n, plant in enumerate(QUIRKS.values()):
            plant(inbox / f"quirk{n}.json", request(f"quirk{n}"), canary.folder)
            self.good.append(f"quirk{n}")

    def settled(self) -> bool:
        look = self.box.listing()
        return look.replies >= set(self.good) and look.dead >= set(self.bad)

    def broken(self) -> str:
        box, look = self.box, self.box.listing()
        found = [f"{id} beside it: is {box.state(id)}" for id in self.good if not self.answered(id)]
        found += [why for id, (what, words) in self.bad.items() if (why := self.letter(id, what, words))]
        letters = [self.read(id)["message"] for id in look.dead - set(self.bad)]
        for name in map(os.fsdecode, self.names):
            told = [one for one in letters if f"inbox/{name!r}: not ID.json; " in one]
            if len(told) != 1:
                found.append(f"the name {name[:40]!r} of {len(os.fsencode(name))} bytes: {len(told)} letters name it")
        if len(letters) != len(self.names) or look.replies != set(self.good):
            found.append(f"{len(letters)} letters for names, {len(look.replies)} replies")
        if [claim.id for claim in box.claims()]:
            found.append("what is dead was claimed again")
        return some([f"{self.kind}: {one}" for one in found])

    def answered(self, id: str) -> bool:
        reply = self.box.reply(id)
        return reply is not None and (reply["request"] if self.box.folders else reply["echo"]) == request(id)

    def read(self, id: str) -> dict[str, Any]:
        letter = json.loads((self.box.folder / "dead" / f"{id}.json").read_bytes())
        return dict(schema.check(letter, "dead.v1"))

    def letter(self, id: str, what: str, words: str) -> str:
        if not self.box.is_dead(id):
            return f"{what}: is {self.box.state(id)}, not dead"
        message = self.read(id)["message"]
        if not message.startswith(f"inbox/{id}.json: ") or not any(one in message for one in words.split("|")):
            return f"{what}: its letter says {message!r}, and neither names inbox/{id}.json nor {words!r}"
        return "" if message.isprintable() else f"{what}: its letter is not one line of text: {message!r}"


def drain(boxes: list[Inbox]) -> dict[str, Any]:
    """Serve the mailboxes until all have settled; what is broken, and by how much the memory grew."""
    before, end = peak_bytes(), time.monotonic() + SETTLED_S
    while not all(one.settled() for one in boxes) and time.monotonic() < end:
        for one in boxes:
            for claim in one.box.claims():
                answer(claim)
        time.sleep(0.05)
    harm = [harm for one in boxes if (harm := one.canary.harm(one.run))]
    return {"broken": "; ".join([one.broken() for one in boxes if one.broken()] + harm), "grew": peak_bytes() - before}


def inboxes(folder: Path) -> Iterator[Row]:
    things = {**THINGS, **(OF_ROOT if os.geteuid() == 0 else {})}
    canary = Canary(folder / "outside", STEP)
    run = folder / "run"
    boxes = [
        Inbox(run, "step", canary, {**BYTES, **OF_A_STEP, **things}, names=True),
        Inbox(run, "service", canary, {**BYTES, **things}, names=True),
    ]
    canary.seal()
    result = in_child(lambda: drain(boxes), PATIENCE_S)
    devices = "" if os.geteuid() == 0 else "; no device nodes: only root makes them"
    tried = (
        f"{len(BYTES) + len(OF_A_STEP)} kinds of bad content, {len(things)} of files that are none, {len(NAMES)} bad "
        f"names, in a step and in a service, among {GOOD} good requests each{devices}"
    )
    yield Row(
        "what lies in an inbox and is no request goes to dead/ with a letter that names the file and the rule; the "
        "good requests beside it are answered; nothing outside is read or changed",
        tried,
        result["broken"],
    )
    grew = result.get("grew", 0)
    yield Row(
        f"a 2 GB request costs less than {MEMORY >> 20} MB of memory",
        f"4 of them, zeros and a good beginning: {grew >> 20} MB more at the most",
        f"{grew >> 20} MB" if grew >= MEMORY else "" if "grew" in result else result["broken"],
    )


def unreadable(folder: Path) -> Row:
    """Requests, and other files of a run, whose modes forbid it, seen by a user who is not root."""
    promise = "what this user may not read is refused by name or dead with a reason; what is beside it is answered"
    place, user = folder / "unreadable", NOBODY if os.geteuid() == 0 else None
    place.mkdir()
    with_schemas(folder / "scratch")
    if user is not None:
        folder.chmod(0o711)  # a person's folder for temporary files lets nobody in
        os.chown(place, user, user)
    if in_child(lambda: {"broken": "" if os.access(place, os.W_OK) else "no"}, PATIENCE_S, user)["broken"]:
        return Row(promise, "not tried: another user cannot reach the folder of this test")
    inbox = in_child(lambda: drain([closed(place)]), PATIENCE_S, user)
    there = in_child(lambda: in_mailboxes(place / "places", lambda: CLOSED), PATIENCE_S, user)
    modes = ", ".join(f"{mode:04o}" for mode in MODES)
    return Row(
        promise,
        f"requests of mode {modes}, a folder of mode 0000; both in {there.get('count')} places of a mailbox",
        "; ".join(one["broken"] for one in (inbox, there) if one["broken"]),
    )


def places(folder: Path, chance: random.Random, quick: bool) -> Iterator[Row]:
    things = {**input_places.THINGS, **(input_places.OF_ROOT if os.geteuid() == 0 else {})}

    def pick() -> dict[str, input_places.Plant]:
        always = {"a link to a folder outside", "a link to a folder outside with no reply"}
        return {name: things[name] for name in sorted(always | {chance.choice(list(things))} if quick else things)}

    for what, trial in (("mailbox", in_mailboxes), ("run", in_runs)):
        place = folder / what
        place.mkdir()
        result = in_child(partial(trial, place, pick), PATIENCE_S)
        yield Row(
            f"what stands in the place of a {what}'s own files is refused by name, or the request is dead with a "
            "reason; it is not followed, nothing hangs, and what is beside it is answered",
            f"{result.get('count')} pairs of a place and a thing: " + ", ".join(things),
            result["broken"],
        )


def with_schemas(folder: Path) -> None:
    """Have every schema read once: a user who may not read the checkout finds them in memory."""
    box = open_box(folder, "step")
    box.put("r1", request("r1"))
    for claim in box.claims():
        answer(claim)
    box.reply("r1")
    box.bury("r2", "test", "test")


def closed(folder: Path) -> Inbox:
    def of_mode(mode: int) -> Plant:
        def plant(path: Path, good: dict[str, Any], outside: Path) -> None:
            path.write_text(json.dumps(good))
            path.chmod(mode)

        return plant

    def closed_folder(path: Path, good: dict[str, Any], outside: Path) -> None:
        path.mkdir(mode=0o000)

    bad: dict[str, tuple[Plant, str]] = {
        f"mode {mode:04o}": (of_mode(mode), "may not be read and written by this user") for mode in MODES
    }
    bad["a folder of mode 0000"] = (closed_folder, "is a folder")
    return Inbox(folder / "run", "step", Canary(folder / "outside", STEP), bad, names=False)
