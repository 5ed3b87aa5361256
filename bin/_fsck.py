"""Prove a run whole, as `git fsck` does: every document against its schema, every byte against its hash."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import _tree
from _books import Books
from _lineage import LINEAGE, PACKED, hold_says
from _tree import Finding
from agents._ask import SERVICE
from agents._job import artifact_schema
from agents.orient import damage
from bus import files, flow, locks, schema
from bus.mailbox import Mailbox, order
from bus.run import Run, round_of

UNREADABLE = (OSError, files.BadFile, schema.Invalid, UnicodeDecodeError)
OWN = {"supervisor/heartbeat.json": "heartbeat.v1", LINEAGE: "lineage.v1", PACKED: "packed.v1"}
_ABSOLUTE = re.compile(r"/.|~/|[A-Za-z]:[\\/]|file:/")


class Check:
    """One look at a whole run: iterate `findings()`, then read the counts."""

    def __init__(self, run: Run, at: Callable[[str], None], own: Sequence[bytes] = ()) -> None:
        """`at` is told what is looked at; `own` are the keys of this machine, which nothing may hold."""
        self.run, self.at, self.own = run, at, own
        self.replies = self.artifacts = self.bytes = 0
        self.books = Books(run.folder / SERVICE)
        self.usable: list[str] = []  # the mailboxes that may be opened: it would make what another lacks

    def findings(self) -> Iterator[Finding]:
        run = self.run
        yield from self.run_itself()
        yield from _tree.findings(run, locks.is_held(run.folder / "supervisor" / "lock"), self.at, self.own)
        for name in _tree.mailboxes(run):
            lacks = _tree.missing(run.folder / name)
            for part in lacks:
                yield Finding(f"{name}/{part}", f"is missing, so that {name} is not looked at; mkdir {name}/{part}")
            if not lacks and _tree.is_plain(run.folder / name):
                self.usable.append(name)
        for name in self.usable:
            yield from self.requests(run.mailbox(name))
            yield from self.letters(run.mailbox(name))
            yield from self.crashes(name)
        for name in self.usable:
            for id in sorted(run.mailbox(name).listing().replies, key=order):
                self.at(f"checking {name} {id}; {self.replies:,} replies so far")
                yield from self.service_reply(name, id) if name in run.services else self.step_reply(name, id)
        if SERVICE in self.usable and SERVICE in run.services:
            yield from self.books.findings()

    # -- the run's own files --------------------------------------------------------------------------------

    def run_itself(self) -> Iterator[Finding]:
        run = self.run
        for where, text in _texts(run.document):
            if _ABSOLUTE.match(text):
                yield Finding("run.json", f"{where}: {text[:80]!r} is an absolute path; a moved run would not find it")
            if text == socket.gethostname():
                yield Finding("run.json", f"{where}: names this host; a run belongs to none")
        try:
            if files.sha256_file(run.folder / "goal.md") != run.document["goal_sha256"]:
                yield Finding("goal.md", "is not the goal that the run was made from; restore it, or make a new run")
        except UNREADABLE as error:
            yield self.bad("goal.md", error, "restore it")
        if run.hold.exists():
            says = f"; it says: {text}" if (text := hold_says(run)) else ""
            yield Finding("HOLD", f"is there: nothing new is claimed until it is removed{says}", harm=False)
        for where, kind in OWN.items():
            if (run.folder / where).exists():
                try:
                    schema.check(files.read_json(run.folder / where), kind)
                except UNREADABLE as error:
                    yield self.bad(where, error, "remove it")

    # -- requests, dead letters, crashes --------------------------------------------------------------------

    def requests(self, box: Mailbox) -> Iterator[Finding]:
        step = None if box.name in self.run.services else self.run.step(box.name)
        for id in sorted(box.listing().requests, key=order):
            where = f"{box.name}/inbox/{id}.json"
            try:
                document = files.parse(files.read_bytes(f"{id}.json", files.MAX_REQUEST, box.inbox_fd), where)
                if box.request_schema:
                    schema.check(document, box.request_schema)
            except FileNotFoundError:
                continue  # answered meanwhile
            except UNREADABLE as error:
                yield self.bad(where, error, "remove it and ask again")
                continue
            if step and (document["id"] != id or document["step"] != box.name):
                yield Finding(where, f"asks for {document['step']} {document['id']}; remove it and ask again")

    def letters(self, box: Mailbox) -> Iterator[Finding]:
        look = box.listing()
        for id in sorted(look.dead, key=order):
            where = f"{box.name}/dead/{id}.json"
            try:
                letter = schema.check(files.read_json(self.run.folder / where), "dead.v1")
            except FileNotFoundError:
                continue
            except UNREADABLE as error:
                yield self.bad(where, error, "remove it, and the request is tried again")
                continue
            if letter["id"] != id:
                yield Finding(where, f"is the letter of {letter['id']}; remove it")
            if id in look.replies:
                yield Finding(where, "is a dead letter that was answered after all", harm=False)
            else:
                yield Finding(where, f"given up: {letter['message']}; bin/retry brings it back", harm=False)
                if id not in look.requests and letter["request_sha256"]:
                    yield Finding(where, f"its request inbox/{id}.json is gone; ask again with bin/put")

    def crashes(self, name: str) -> Iterator[Finding]:
        for entry in _tree.walk(self.run.folder, f"{name}/work"):
            parts = entry.name.split("/")
            if len(parts) != 5 or parts[4] != "crash.json" or not entry.is_file:
                continue
            try:
                schema.check(files.read_json(self.run.folder / entry.name), "error.v1")
            except FileNotFoundError:
                continue
            except UNREADABLE as error:
                yield self.bad(entry.name, error, "the try counts as a death")

    # -- replies --------------------------------------------------------------------------------------------

    def service_reply(self, name: str, id: str) -> Iterator[Finding]:
        where, box = f"{name}/outbox/{id}.json", self.run.mailbox(name)
        try:
            reply = box.reply(id) or {}
            self.bytes += os.stat(self.run.folder / where).st_size
        except UNREADABLE as error:
            yield self.bad(where, error, "remove it and ask again")
            return
        self.replies += 1
        told = reply.get("request_sha256")
        for value in reply.values():  # a reply that carries its request proves it
            if isinstance(value, dict) and value.get("schema") == box.request_schema and not _same(value, told):
                yield Finding(where, "request_sha256 is not that of the request it carries; remove it and ask again")
        if name == SERVICE and reply:
            yield from self.books.reply(id, reply)

    def step_reply(self, name: str, id: str) -> Iterator[Finding]:
        where = f"{name}/outbox/{id}"
        problems = damage(self.run, name, id)
        for problem in problems:
            yield self.bad(where, ValueError(problem), "restore it, or remove the reply to make it again")
        try:
            reply = self.run.mailbox(name).reply(id)
        except UNREADABLE:
            return  # damage() has said so
        if reply is None:
            return
        self.replies += 1
        if reply["id"] != id or reply["step"] != name:
            yield Finding(where, f"is the reply of {reply['step']} {reply['id']}; remove it, and it is made again")
        if not _same(reply["request"], reply["request_sha256"]):
            yield Finding(where, "request_sha256 is not that of its request; remove the reply, and it is made again")
        yield from self.reads(where, id, reply)
        documents: dict[str, Any] = {}
        for artifact, known in reply["artifacts"].items():
            self.artifacts, self.bytes = self.artifacts + 1, self.bytes + known["bytes"]
            if not any(problem.startswith(f"{artifact}:") for problem in problems):
                yield from self.artifact(name, id, artifact, known["bytes"], documents)
        yield from (Finding(where, what) for what in seals(reply["artifacts"], documents))

    def reads(self, where: str, id: str, reply: dict[str, Any]) -> Iterator[Finding]:
        """Whether a reply was made from what the run holds now."""
        steps = {step.name for step in self.run.steps}
        for name, sha256 in reply["read"].items():
            if (step := flow.source(name)) and step not in steps:
                yield Finding(where, f"read {name}, but the run has no step {step}; remove it, and it is made again")
                continue
            try:
                now = self.now(name, round_of(id) or 1)
            except UNREADABLE as error:
                yield self.bad(where, error, f"it read {name} from there: restore it")
                continue
            if now != sha256:
                what = "is gone" if now is None else "has other bytes now"
                yield Finding(where, f"read {name}, which {what}; go on with the run, and it is made again")

    def now(self, name: str, round: int) -> str | None:
        if not (step := flow.source(name)):
            return files.sha256_file(self.run.folder / files.inside(name))
        reply = self.run.reply(step, round - name.startswith(flow.BEFORE)) if step in self.usable else None
        known = (reply or {"artifacts": {}})["artifacts"]
        return known.get(name.removeprefix(flow.BEFORE).partition("/")[2], {}).get("sha256")

    def artifact(self, step: str, id: str, name: str, size: int, documents: dict[str, Any]) -> Iterator[Finding]:
        """One artifact against its schema; JSON documents are put into `documents` by the name of their schema."""
        where = f"{step}/outbox/{id}/{name}"
        path = self.run.folder / where
        try:
            kind = artifact_schema(self.run.step(step), files.inside(name))
            if os.stat(path, follow_symlinks=False).st_size != size:
                yield Finding(where, f"is not the {size:,} bytes that were replied; restore it")
            if kind and name.endswith(".jsonl"):
                for number, line in enumerate(files.read_bytes(path, limit=files.MAX_DOCUMENT * 64).splitlines(), 1):
                    schema.check(files.parse(line, f"line {number}"), kind)
            elif kind:
                documents[kind] = schema.check(files.read_json(path), kind)
        except FileNotFoundError:
            return  # damage() has said so
        except UNREADABLE as error:
            yield self.bad(where, error, "remove the reply to make it again")

    def bad(self, where: str, error: Exception, advice: str) -> Finding:
        """A document that cannot be read or breaks its schema; the error's own mention of the path is left out."""
        text = str(error).replace(f"{self.run.folder}/", "").removeprefix(f"{where}: ")
        return Finding(where, f"{text}; {advice}")


def seals(artifacts: dict[str, Any], documents: dict[str, Any]) -> Iterator[str]:
    """Where documents of a reply name the sha256 of files beside them, and it is another."""
    named = []
    if dataset := documents.get("dataset.v1"):
        named += [(f"{one}.jsonl", dataset[f"{one}_sha256"], "dataset.json") for one in ("exam", "validation")]
    if training := documents.get("training.v1"):
        named.append(("base/model.safetensors", training["base"]["sha256"], "training.json"))
    for name, sha256, by in named:
        if name in artifacts and artifacts[name]["sha256"] != sha256:
            yield f"{name} is not what {by} was made with (sha256 {artifacts[name]['sha256'][:12]}); remove the reply"


def _same(request: dict[str, Any], sha256: Any) -> bool:
    """True if a request, in its one byte form, has this sha256."""
    return bool(sha256 == files.sha256(files.canonical(request)))


def _texts(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """(place, text) of every text in a document, but for commands: they run from this machine's own config."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key != "command":
                yield from _texts(inner, f"{where}/{key}".strip("/"))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, where)
