"""The queues under test that are ours or plain Python: a mailbox of files, one of folders, and a bare Maildir.

Every box has the same four calls: `put(n)` asks number n; `claims()` lists once and claims what is there, one
after another; `number(claim)` says which one it is; `end(claim)` answers, where the box answers, and lets it go.
Messages are the same 1,024 bytes everywhere: an observation.v1 in its one byte form.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import orjson

from bus import files
from bus.mailbox import Mailbox

SIZE = 1024  # bytes of one message
OBSERVATION: dict[str, Any] = {
    "schema": "observation.v1",
    "id": "",
    "kind": "result",
    "run": "gpu-ops",
    "round": 1,
    "topics": ["errors", "memory"],
    "text": "",
    "data": {"topic": "errors", "score": 0.71, "n": 200},
}
FACTS = {"read": {}, "seconds": 0.0, "usd": 0.0, "gpu_s": 0.0, "cpu_s": 0.0}


def id_of(n: int) -> str:
    return f"o-{n:020x}"


OBSERVATION["id"] = id_of(0)
OBSERVATION["text"] = "x" * (SIZE - len(files.canonical(OBSERVATION)))
TEXT = files.canonical(OBSERVATION).decode()
BEFORE, AFTER = TEXT.split(id_of(0))
ANSWER = '{"schema":"remembered.v1","observation":%s,"request_sha256":"' + "0" * 64 + '"}'


def document(n: int) -> dict[str, Any]:
    return {**OBSERVATION, "id": id_of(n)}


def text(n: int) -> str:
    """The same message for queues that take text or bytes."""
    return BEFORE + id_of(n) + AFTER


def number_in(message: str) -> int:
    return int(message[len(BEFORE) + 2 : len(BEFORE) + 22], 16)


class Files:
    """A service's mailbox: file replies, request and reply checked against their schemas."""

    name: ClassVar[str] = "**mailbox, file replies**"
    shape: ClassVar[str] = "put, claim, reply"
    durable: ClassVar[bool] = False

    def __init__(self, folder: Path) -> None:
        self.mailbox = Mailbox(
            folder / "memory", folders=False, request="observation.v1", reply="remembered.v1", durable=self.durable
        )
        self.watched = [folder / "memory" / "inbox"]

    def put(self, n: int) -> None:
        self.mailbox.put(id_of(n), document(n))

    def claims(self) -> Iterator[Any]:
        return self.mailbox.claims()

    def number(self, claim: Any) -> int:
        return int(claim.id[2:], 16)

    def end(self, claim: Any) -> None:
        claim.commit_file({"schema": "remembered.v1", "observation": claim.request})


class Folders:
    """A step's mailbox: the reply is a folder with reply.json and one artifact of 1,024 bytes."""

    name: ClassVar[str] = "**mailbox, folder replies**"
    shape: ClassVar[str] = "put, claim, try, artifact, reply"
    durable: ClassVar[bool] = False

    def __init__(self, folder: Path) -> None:
        self.mailbox = Mailbox(folder / "10-bench", durable=self.durable)
        self.watched = [folder / "10-bench" / "inbox"]
        self.artifact = TEXT.encode()

    def put(self, n: int) -> None:
        self.mailbox.put(f"r{n}", {"schema": "request.v1", "id": f"r{n}", "step": "10-bench", "round": n + 1})

    def claims(self) -> Iterator[Any]:
        return self.mailbox.claims()

    def number(self, claim: Any) -> int:
        return int(claim.id[1:])

    def end(self, claim: Any) -> None:
        (claim.begin() / "out" / "answer.txt").write_bytes(self.artifact)
        claim.commit_folder(FACTS)


class DurableFiles(Files):
    name, durable = "**mailbox, file replies, durable**", True


class DurableFolders(Folders):
    name, durable = "**mailbox, folder replies, durable**", True


class Maildir:
    """tmp -> new -> cur by renames; bytes in, bytes out: no JSON, no check, no fsync."""

    name: ClassVar[str] = "Maildir, no reply"
    shape: ClassVar[str] = "put, claim, unlink"

    def __init__(self, folder: Path) -> None:
        for part in ("tmp", "new", "cur", "outbox"):
            (folder / part).mkdir(exist_ok=True)
        self.tmp, self.new, self.cur, self.outbox = (f"{folder}/{part}/" for part in ("tmp", "new", "cur", "outbox"))
        self.watched = [folder / "new"]

    def put(self, n: int) -> None:
        name = id_of(n)
        self.write(self.tmp + name, self.asked(n))
        os.rename(self.tmp + name, self.new + name)

    def asked(self, n: int) -> Any:
        return text(n).encode()

    def write(self, path: str, data: Any) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        os.write(descriptor, data)
        os.close(descriptor)

    def claims(self) -> Iterator[Any]:
        for name in sorted(os.listdir(self.new)):
            try:
                os.rename(self.new + name, self.cur + name)
            except FileNotFoundError:
                continue
            yield name, self.read(self.cur + name)

    def read(self, path: str) -> Any:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        data = os.read(descriptor, 1 << 16)
        os.close(descriptor)
        return data

    def number(self, claim: tuple[str, bytes]) -> int:
        return int(claim[0][2:], 16)

    def end(self, claim: tuple[str, bytes]) -> None:
        os.unlink(self.cur + claim[0])


class MaildirReply(Maildir):
    """The same, and a reply of the bytes that ours has, written to tmp and renamed into outbox."""

    name, shape = "Maildir, reply, bare calls", "put, claim, reply, unlink"
    before, after = (part.encode() for part in ANSWER.split("%s"))

    def end(self, claim: tuple[str, bytes]) -> None:
        name, data = claim
        self.write(f"{self.tmp}{name}.reply", self.reply(data))
        os.rename(f"{self.tmp}{name}.reply", self.outbox + name)
        os.unlink(self.cur + name)

    def reply(self, data: Any) -> Any:
        return self.before + data + self.after


class MaildirJson(MaildirReply):
    """The same for documents: written by the putter, read and written by the worker, with the library of ours."""

    name = "Maildir, reply, bare calls and orjson"

    def asked(self, n: int) -> Any:
        return orjson.dumps(document(n))

    def reply(self, data: Any) -> Any:
        return orjson.dumps({"schema": "remembered.v1", "observation": orjson.loads(data), "request_sha256": "0" * 64})


class MaildirCommon(MaildirReply):
    """The same as one commonly writes it: `open`, and the standard library's JSON."""

    name = "Maildir, reply, open() and json"

    def asked(self, n: int) -> Any:
        return json.dumps(document(n))

    def reply(self, data: Any) -> Any:
        return json.dumps({"schema": "remembered.v1", "observation": json.loads(data), "request_sha256": "0" * 64})

    def write(self, path: str, data: Any) -> None:
        with open(path, "w") as file:
            file.write(data)

    def read(self, path: str) -> Any:
        with open(path) as file:
            return file.read()


class MaildirDurable(MaildirReply):
    """A Maildir that fsyncs as ours does: each file before its rename, each folder after it."""

    name = "Maildir, reply, fsync of file and folder"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.new_fd, self.outbox_fd = (os.open(path, os.O_RDONLY) for path in (self.new, self.outbox))

    def write(self, path: str, data: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        os.write(descriptor, data)
        os.fsync(descriptor)
        os.close(descriptor)

    def put(self, n: int) -> None:
        super().put(n)
        os.fsync(self.new_fd)

    def end(self, claim: tuple[str, bytes]) -> None:
        name, data = claim
        self.write(f"{self.tmp}{name}.reply", self.before + data + self.after)
        os.rename(f"{self.tmp}{name}.reply", self.outbox + name)
        os.fsync(self.outbox_fd)
        os.unlink(self.cur + name)
