"""What must hold in a folder that a power cut left, and after a fresh worker has gone on in it."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from agents._run import tidy
from bus import files, schema
from bus.files import BadFile
from bus.mailbox import Conflict, Mailbox
from bus.run import Run, RunError
from tests.crash.power_scenes import Scene
from tests.crash.power_work import PART, RUN, advance, answer, ask, create, is_step, open_box, reply_sha256, work

Key = tuple[str, str]  # mailbox, ID
_ANY = (OSError, BadFile, Conflict, schema.Invalid, RunError, ValueError, TypeError, KeyError, AssertionError)


class Broken(Exception):
    """A promise is broken; the text says which."""


@dataclass
class Promises:
    """What was said before the power failed."""

    asked: set[Key] = field(default_factory=set)
    answered: dict[Key, str] = field(default_factory=dict)
    aside: dict[Key, str] = field(default_factory=dict)  # replies that may have been moved away
    may_be_dead: set[Key] = field(default_factory=set)
    dead: set[Key] = field(default_factory=set)
    made: bool = False
    rounds: int = 0

    @classmethod
    def said(cls, marks: Iterable[str]) -> Promises:
        found = cls()
        for mark in marks:
            what, box, *more = mark.split()
            found._add(what, (box, more[0] if more else ""), more)
        return found

    def _add(self, what: str, key: Key, more: list[str]) -> None:
        if what == "made":
            self.made = True
        elif what == "rounds":
            self.rounds = int(more[0])
        elif what == "put":
            self.asked.add(key)
        elif what == "answered":
            self.answered[key] = more[1]
        elif what == "aside":
            self.aside[key] = self.answered.pop(key)
            self.asked.discard(key)
        else:
            self._add_dead(what, key)

    def _add_dead(self, what: str, key: Key) -> None:
        if what == "burying":
            self.may_be_dead.add(key)
        elif what == "buried":
            self.dead.add(key)
        elif what == "reviving":
            self.dead.discard(key)
        elif what == "revived":
            self.may_be_dead.discard(key)
        else:
            raise AssertionError(what)


def broken(root: Path, scene: Scene, marks: Iterable[str]) -> str:
    """The first broken promise in a folder, in words, or "". The folder is worked on."""
    check = Check(root, scene, Promises.said(marks))
    try:
        check.all()
    except Broken as error:
        return str(error)
    except _ANY as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} ({os.path.basename(last.filename)}:{last.lineno})"
    finally:
        check.close()
    return ""


class Check:
    """One folder, what was promised of it, and its mailboxes as a fresh process opens them."""

    def __init__(self, root: Path, scene: Scene, promises: Promises) -> None:
        self.root, self.scene, self.promises = root, scene, promises
        self.boxes: dict[str, Mailbox] = {}
        self.run: Run | None = None
        self.torn: set[Key] = set()

    def close(self) -> None:
        for box in self.boxes.values():
            box.close()
        if self.run:
            self.run.close()

    def all(self) -> None:
        if self.scene.of_run:
            self._open_run()
        for name in self.scene.ids:
            self.boxes[name] = open_box(self.root, name, durable=False, tries=self.scene.tries)
        for name, box in self.boxes.items():
            self._look(name, box)
        for key in self.promises.asked | self.promises.answered.keys() | self.promises.dead:
            self._kept(key)
        for key, sha256 in self.promises.aside.items():
            self._kept_aside(key, sha256)
        self._finish()
        self._after(self.promises.asked | self.promises.answered.keys())
        self._ask_again()
        self._finish()
        self._after({(name, id) for name, ids in self.scene.ids.items() for id in ids} - self.torn)

    def _open_run(self) -> None:
        """A run that was made is whole; one that was not is whole or not there."""
        if self.promises.made or (self.root / RUN).exists():
            self.run = Run(self.root / RUN)
            goal = files.sha256_file(self.run.folder / "goal.md")
            if goal != self.run.document["goal_sha256"] and not self.promises.aside:
                raise Broken("goal.md is not the one of run.json")
            if self.run.rounds not in {max(1, self.promises.rounds), 2}:
                raise Broken(f"ROUNDS says {self.run.rounds}, not {self.promises.rounds}")
            for name in [*self.run.document["flow"], *self.run.services]:
                if not all((self.run.folder / name / part).is_dir() for part in ("inbox", "work", "outbox", "dead")):
                    raise Broken(f"{name}: is no whole mailbox")
        else:
            self.run = create(self.root)  # it was not made: it can be

    def _look(self, name: str, box: Mailbox) -> None:
        """Whatever can be seen is whole, or is seen not to be."""
        listing = box.listing()
        for id in listing.requests:
            try:
                document = files.parse(files.read_bytes(box.folder / "inbox" / f"{id}.json"), id)
            except BadFile:
                self.torn.add((name, id))
                continue
            if document != ask(name, id):
                raise Broken(f"{name}: {id}: a request that nobody asked is read as good: {str(document)[:100]}")
        for id in listing.replies:
            if box.answered(id):
                whole(box, name, id)
        for id in listing.dead:
            schema.check(files.read_json(box.folder / "dead" / f"{id}.json"), "dead.v1")
        for path in box.folder.glob("work/*/kept/[!.]*"):
            if path.read_bytes() != PART:
                raise Broken(f"{name}: {path.relative_to(box.folder)}: a kept part that is not whole is read as good")

    def _kept(self, key: Key) -> None:
        (name, id), box = key, self.boxes[key[0]]
        sha256 = self.promises.answered.get(key)
        if sha256 and not box.answered(id):
            raise Broken(f"{name}: {id}: the reply is lost")
        if sha256 and reply_sha256(self.root, name, id) != sha256:
            raise Broken(f"{name}: {id}: the reply has changed")
        if box.answered(id):
            return
        if key in self.promises.dead and not box.is_dead(id):
            raise Broken(f"{name}: {id}: was given up, and the dead letter is lost")
        if box.is_dead(id) and key not in self.promises.may_be_dead:
            raise Broken(f"{name}: {id}: a request that was asked is dead")
        if id not in box.listing().requests:
            raise Broken(f"{name}: {id}: the request is lost")
        if key in self.torn:
            raise Broken(f"{name}: {id}: the request is torn")

    def _kept_aside(self, key: Key, sha256: str) -> None:
        folder = self.root / key[0]
        for path in [folder / "outbox" / key[1], *folder.glob(f"stale/{key[1]}-*")]:
            if (path / "reply.json").exists() and files.sha256_file(path / "reply.json") == sha256:
                return
        raise Broken(f"{key[0]}: {key[1]}: the reply that was set aside is lost")

    def _finish(self) -> None:
        """A fresh worker goes through what there is to do."""
        if self.run:
            advance(self.run, lambda _: None)
            return
        for name, box in self.boxes.items():
            tidy(box)
            for claim in box.claims():
                if claim.request != ask(name, claim.id):
                    raise Broken(f"{name}: {claim.id}: is claimed, but nobody asked it: {str(claim.request)[:100]}")
                work(claim)

    def _ask_again(self) -> None:
        """Who does not know whether it was asked asks again, and that is right."""
        for name, ids in self.scene.ids.items():
            for id in ids:
                if (name, id) not in self.torn:
                    self.boxes[name].put(id, ask(name, id))

    def _after(self, keys: Iterable[Key]) -> None:
        """Every key is answered once, whole; nothing that was answered has changed."""
        for name, id in keys:
            box = self.boxes[name]
            if box.is_dead(id) and (name, id) in self.promises.may_be_dead and not box.answered(id):
                continue
            if not box.answered(id):
                raise Broken(f"{name}: {id}: a fresh worker does not answer it: {box.state(id)}")
            whole(box, name, id)
            if id in box.listing().requests and not box.is_dead(id):  # what is dead is not looked at again
                raise Broken(f"{name}: {id}: is answered and still asked")
            if self.promises.answered.get((name, id), same := reply_sha256(self.root, name, id)) != same:
                raise Broken(f"{name}: {id}: the reply has changed while a fresh worker went on")


def whole(box: Mailbox, name: str, id: str) -> None:
    """Raise Broken if a reply that can be seen is not the one that was made, to the last byte."""
    try:
        reply = box.reply(id)
    except (BadFile, schema.Invalid) as error:
        raise Broken(f"{name}: {id}: a torn reply can be seen: {error}") from None
    if reply is None or reply["request_sha256"] != files.sha256(files.canonical(ask(name, id))):
        raise Broken(f"{name}: {id}: the reply is to another request")
    if not is_step(name):
        if reply["answer"] != answer(id):
            raise Broken(f"{name}: {id}: another answer")
        return
    made = {"part.txt": PART, "sub/answer.txt": answer(id).encode()}
    for artifact, data in made.items():
        path = box.folder / "outbox" / id / artifact
        if reply["artifacts"][artifact]["sha256"] != files.sha256(data) or path.read_bytes() != data:
            raise Broken(f"{name}: {id}: {artifact}: not what the reply says")
