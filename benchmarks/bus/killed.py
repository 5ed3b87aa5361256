"""A consumer claims a message and is killed, or lives on and works: what becomes of the message, really tried.

Two other consumers look for it every 50 ms: one that was there all along, then a fresh one that is opened after it.
All contenders are tried at once, each in a folder and in processes of its own.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.bus import boxes, measure, peers
from benchmarks.bus.measure import Failed, Ready

LOOK_S, POLL_S = 3.0, 0.05  # how long each of the two consumers looks, and how often
CONTENDERS: list[Any] = [boxes.Files, boxes.Folders, boxes.MaildirReply, *peers.ALL]


def run(quick: bool) -> None:
    look_s = LOOK_S / 10 if quick else LOOK_S
    measure.say("consumers killed between claim and ack")
    with measure.folder("disk") as folder:
        jobs = [
            partial(tried, make, folder / f"{index}-{kill}", kill, look_s)
            for index, make in enumerate(CONTENDERS)
            for kill in (True, False)
        ]
        told = measure.together(*jobs)
    measure.head(
        f"A consumer that is killed between claim and ack, and one that works {2 * look_s:.0f} s longer",
        *("queue", "killed: the message", "alive: its message", "target: back by itself, never stolen"),
    )
    for index, make in enumerate(CONTENDERS):
        killed, alive = told[2 * index : 2 * index + 2]
        safe = killed.startswith("taken up again by a consumer that was there") and alive == "stays its own"
        ours = issubclass(make, boxes.Files | boxes.Folders)
        told_of = "-" if killed.startswith("failed") else "yes" if safe else "no"
        measure.row(make.name, killed, alive, measure.verdict(safe) if ours else told_of)
    measure.note(
        f"Looked for by a consumer that was there all along ({look_s} s), then by a freshly opened one ({look_s} s). "
        "What is lost has left every file; what is stuck is still in one, until somebody purges or resets it."
    )


def tried(make: Any, folder: Path, kill: bool, look_s: float, ready: Ready) -> str:
    """What became of the message, in words; AssertionError if the first consumer did not get it."""
    try:
        folder.mkdir()
        made = make(folder)  # the consumer that is there all along
        put_by_another(make, folder)
        holder = claim_by_another(make, folder)
        if kill:
            os.kill(holder, signal.SIGKILL)
            os.waitpid(holder, 0)
        try:
            return outcome(made, make, folder, kill, look_s)
        finally:
            if not kill:
                os.kill(holder, signal.SIGKILL)
                os.waitpid(holder, 0)
    except ImportError as error:
        return f"failed: {error}"


def outcome(made: Any, make: Any, folder: Path, kill: bool, look_s: float) -> str:
    verb = "taken up again" if kill else "**stolen**"
    for who, box in (("a consumer that was there", lambda: made), ("a freshly opened one", lambda: make(folder))):
        if (after := found(box(), look_s)) is not None:
            return f"{verb} by {who}, after {after:.2f} s"
    if not kill:
        return "stays its own"
    where = sorted(set(holds(folder)))
    return f"**stuck** in {', '.join(where)}" if where else "**lost**"


def found(box: Any, look_s: float) -> float | None:
    """Seconds until a consumer gets the message; None if it does not."""
    began = time.monotonic()
    while time.monotonic() - began < look_s:
        for _ in box.claims():
            return time.monotonic() - began
        time.sleep(POLL_S)
    return None


def put_by_another(make: Any, folder: Path) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            make(folder).put(0)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0, f"{make.name}: the put failed"


def claim_by_another(make: Any, folder: Path) -> int:
    """The pid of a process that has claimed the message and works on it for good."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            claims = make(folder).claims()
            claim = next(claims)
            os.write(tell, make.name.encode())
            while claim:
                signal.pause()
        finally:
            os._exit(1)
    os.close(tell)
    answer = os.read(told, 1000)  # nothing, if it ended
    os.close(told)
    if not answer:
        os.waitpid(pid, 0)
        raise Failed(f"{make.name}: the first consumer got nothing")
    return pid


def holds(folder: Path) -> Iterator[str]:
    """The names of the files and the tables that still have the message."""
    for path in (Path(parent) / name for parent, _, names in os.walk(folder) for name in names):
        if path.suffix == ".db":
            yield from rows(path)
        elif not path.name.endswith(("-wal", "-shm")) and boxes.id_of(0).encode() in path.read_bytes():
            yield f"{path.parent.name}/{path.name[:20]}" if path.parent != folder else path.name[:20]


def rows(path: Path) -> Iterator[str]:
    """Tables of an SQLite file with a row that has the message; bytes of deleted rows do not count."""
    base = sqlite3.connect(path)
    for (table,) in base.execute("select name from sqlite_master where type = 'table'").fetchall():
        for row in base.execute(f'select * from "{table}"'):
            if any(
                boxes.id_of(0) in (cell.decode("latin-1") if isinstance(cell, bytes) else str(cell)) for cell in row
            ):
                yield f"table {table} of {path.name}"
    base.close()
