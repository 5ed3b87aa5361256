"""The peers from PyPI, each with the four calls of boxes.py, used as their own documentation does.

They are installed for this bench alone (requirements-bench.txt), so neither lint nor the tests may need them:
`load` finds them when a box is made, and one that is missing gets a row that says so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.bus.boxes import ANSWER, number_in, text

load = import_module
DISTRIBUTIONS = "dirq huey kombu persist-queue litequeue watchdog jsonschema fastjsonschema".split()


class Peer:
    """What the peers share: the claim is the message itself, and its text holds its number."""

    name: ClassVar[str]
    shape: ClassVar[str] = "put, get, ack"

    def number(self, claim: Any) -> int:
        return number_in(claim)

    def put(self, n: int) -> None:
        raise NotImplementedError

    def claims(self) -> Iterator[Any]:
        raise NotImplementedError

    def end(self, claim: Any) -> None:
        """Nothing, for a queue whose get has removed the message."""


class DirqSimple(Peer):
    name = "dirq.QueueSimple"
    shape = "add, lock, get, remove"

    def __init__(self, folder: Path) -> None:
        self.queue = load("dirq.QueueSimple").QueueSimple(str(folder))

    def put(self, n: int) -> None:
        self.queue.add(text(n))

    def claims(self) -> Iterator[Any]:
        for name in self.queue:
            if self.queue.lock(name):
                yield name, self.queue.get(name)

    def number(self, claim: Any) -> int:
        return number_in(claim[1].decode())

    def end(self, claim: Any) -> None:
        self.queue.remove(claim[0])


class DirqQueue(DirqSimple):
    name = "dirq.Queue"

    def __init__(self, folder: Path) -> None:
        self.queue = load("dirq.queue").Queue(str(folder), schema={"body": "string"})

    def put(self, n: int) -> None:
        self.queue.add({"body": text(n)})

    def number(self, claim: Any) -> int:
        return number_in(claim[1]["body"])


class HueyFile(Peer):
    name = "huey, FileStorage"
    shape = "put, take, run, store result"

    def __init__(self, folder: Path) -> None:
        self.huey = self.make(folder)
        self.answer = self.huey.task(name="answer")(lambda message: ANSWER % message)

    def make(self, folder: Path) -> Any:
        return load("huey").FileHuey("bench", path=str(folder))

    def put(self, n: int) -> None:
        self.answer(text(n))

    def claims(self) -> Iterator[Any]:
        while (task := self.huey.dequeue()) is not None:
            yield task

    def number(self, claim: Any) -> int:
        return number_in(claim.args[0])

    def end(self, claim: Any) -> None:
        self.huey.execute(claim)


class HueySqlite(HueyFile):
    name = "huey, SqliteStorage"

    def make(self, folder: Path) -> Any:
        return load("huey").SqliteHuey("bench", filename=f"{folder}/huey.db")


class HueySqliteDurable(HueyFile):
    name = "huey, SqliteStorage, fsync=True"

    def make(self, folder: Path) -> Any:
        return load("huey").SqliteHuey("bench", filename=f"{folder}/huey.db", fsync=True)


class Kombu(Peer):
    name = "kombu, filesystem"

    def __init__(self, folder: Path) -> None:
        # A message that is read passes through the system's temporary folder, which shall be where the queue is.
        tempfile.tempdir = str(self.make(folder, "processed"))
        queue, control = str(self.make(folder, "queue")), str(self.make(folder, "control"))
        options = {"data_folder_in": queue, "data_folder_out": queue, "control_folder": control}
        self.connection = load("kombu").Connection("filesystem://", transport_options=options)
        self.queue = self.connection.SimpleQueue("bench")

    def make(self, folder: Path, name: str) -> Path:
        (folder / name).mkdir(exist_ok=True)
        return folder / name

    def put(self, n: int) -> None:
        self.queue.put(text(n))

    def claims(self) -> Iterator[Any]:
        while True:
            try:
                message = self.queue.get(block=False)
            except self.queue.Empty:
                return
            yield message

    def number(self, claim: Any) -> int:
        return number_in(claim.payload)

    def end(self, claim: Any) -> None:
        claim.ack()


class PersistAck(Peer):
    name = "persist-queue, SQLiteAckQueue"

    def __init__(self, folder: Path) -> None:
        self.persistqueue = load("persistqueue")
        self.queue = self.persistqueue.SQLiteAckQueue(str(folder))

    def put(self, n: int) -> None:
        self.queue.put(text(n))

    def claims(self) -> Iterator[Any]:
        while True:
            try:
                item = self.queue.get(block=False)
            except self.persistqueue.Empty:
                return
            yield item

    def end(self, claim: Any) -> None:
        self.queue.ack(claim)


class PersistSqlite(PersistAck):
    name = "persist-queue, SQLiteQueue"
    shape = "put, get (which removes)"

    def __init__(self, folder: Path) -> None:
        self.persistqueue = load("persistqueue")
        self.queue = self.persistqueue.SQLiteQueue(str(folder), auto_commit=True)

    def end(self, claim: Any) -> None:
        pass


class PersistFile(PersistAck):
    name = "persist-queue, file Queue"
    shape = "put, get, task_done"
    alone: ClassVar[str] = "it keeps its length in memory, so that a second process finds nothing"

    def __init__(self, folder: Path) -> None:
        self.persistqueue = load("persistqueue")
        self.queue = self.persistqueue.Queue(str(folder), tempdir=str(folder))

    def end(self, claim: Any) -> None:
        self.queue.task_done()


class Lite(Peer):
    name = "litequeue"
    shape = "put, pop, done"

    def __init__(self, folder: Path) -> None:
        self.queue = load("litequeue").LiteQueue(f"{folder}/lite.db")

    def put(self, n: int) -> None:
        self.queue.put(text(n))

    def claims(self) -> Iterator[Any]:
        while (message := self.queue.pop()) is not None:
            yield message

    def number(self, claim: Any) -> int:
        return number_in(claim.data)

    def end(self, claim: Any) -> None:
        self.queue.done(claim.message_id)


ALL: list[Any] = [
    DirqSimple,
    DirqQueue,
    HueyFile,
    HueySqlite,
    Kombu,
    PersistAck,
    PersistSqlite,
    PersistFile,
    Lite,
]
