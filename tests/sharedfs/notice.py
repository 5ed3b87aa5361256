"""How soon one client notices what the other put, and how fast one client is alone."""

from __future__ import annotations

import os
import select
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from bus.mailbox import Mailbox
from bus.wake import Bell, is_network
from tests.crash.storm_processes import fork
from tests.sharedfs.box import STEP, box, commit, prepare, question
from tests.sharedfs.children import end
from tests.sharedfs.filesystem import FileSystem
from tests.sharedfs.row import NOTICED, SPEED, Row

RING_S = 1.0  # how long an event may take
PUTS = 4  # at one client, each claimed at the other before the next
GAP_S = 0.3  # more before each put than before the last: they come at all moments of the poll
LATE_S = 3.0  # past this after the poll (2 s) and the client's own cache, a request was not noticed but stumbled over
NEVER_S = 40.0  # a request that is not claimed for so long is reported as if it took this
SPEED_S = 3.0  # of each kind


def run(fs: FileSystem) -> Iterator[Row]:
    yield _noticed(fs)
    yield _speed(fs)


def _noticed(fs: FileSystem) -> Row:
    a = box(fs.folder / "A", "noticed", "service")
    at_b = fs.folder / "B" / "noticed" / STEP
    rings, known, kind = _rings(a, at_b), is_network(at_b), _type(at_b)
    read, write = os.pipe()
    pid = fork(_serve, at_b, write)
    try:
        gap_s = Bell([at_b]).poll_s + GAP_S if fs.stale_s else GAP_S  # B has listed, and so cached, in between
        puts = 2 if fs.stale_s else PUTS
        waits = [_one(a, f"n{number}", read, gap_s * number) for number in range(puts)]
    finally:
        end(pid)
        a.close()
    limit = Bell([at_b]).poll_s + fs.stale_s + LATE_S
    cell = f"{statistics.median(waits):.1f} s, at most {max(waits):.1f} s"
    detail = (
        f"{puts} puts at A, claimed at B after {', '.join(f'{one:.2f}' for one in waits)} s; B is "
        f"{'rung by' if rings else 'told nothing of'} A's files; the bus {'knows' if known else 'does NOT know'} "
        f"the mount type {kind!r} as a network's"
    )
    return Row(NOTICED, cell, detail, "" if max(waits) <= limit else f"later than {limit:.0f} s: {detail}")


def _rings(a: Mailbox, at_b: Path) -> bool:
    """True if a put at A rings the bell of B."""
    with Bell([at_b / "inbox"]) as bell:
        a.put("ring", question("ring"))
        return bell.wait(RING_S)


def _serve(at_b: Path, write: int) -> None:
    """An agent at B, which says when it claimed each request. Its own files are elsewhere: nothing else rings."""
    mailbox = box(at_b.parent.parent, at_b.parent.name, "service")
    with Bell([at_b / "inbox"]) as bell:
        while True:
            for claim in mailbox.claims():
                os.write(write, f"{claim.id} {time.monotonic()}\n".encode())
                commit(claim)
            bell.wait()


def _one(a: Mailbox, id: str, read: int, after_s: float) -> float:
    """Seconds from the end of a put at A to its claim at B."""
    time.sleep(after_s)
    a.put(id, question(id))
    began, text = time.monotonic(), ""
    while f"{id} " not in text:
        if not select.select([read], [], [], NEVER_S)[0]:
            return NEVER_S
        text += os.read(read, 4096).decode()
    return max(0.0, float(text.partition(f"{id} ")[2].split()[0]) - began)


def _type(folder: Path) -> str:
    mounts = [line.split(" ") for line in Path("/proc/self/mounts").read_text().splitlines()]
    return next(kind for _, point, kind, *_ in reversed(mounts) if str(folder).startswith(f"{point}/"))


def _speed(fs: FileSystem) -> Row:
    rates = {}
    for kind in ("service", "step"):
        mailbox = box(fs.folder / "A", f"speed-{kind}", kind)
        count, began = 0, time.monotonic()
        while (spent := time.monotonic() - began) < SPEED_S:
            id = f"s{count}"
            mailbox.put(id, question(id))
            claim = mailbox.claim(id)
            if claim is None:
                raise RuntimeError(f"{fs.name}: {id}: put and not to be claimed")
            prepare(claim)
            commit(claim)
            count += 1
        rates[kind] = count / spent
        mailbox.close()
    cell = ", ".join(f"{kind} {rate:.0f}/s" for kind, rate in rates.items())
    return Row(SPEED, cell, f"one process at A, durable, {SPEED_S:.0f} s each: {cell}")
