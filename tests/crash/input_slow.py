"""Requests that a person copies in slowly: worked on once they are whole, dead only after they stopped changing."""

from __future__ import annotations

import json
import os
import random
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bus import files
from bus.claim import SETTLE_S
from bus.mailbox import Mailbox
from bus.wake import POLL_S, Bell
from tests.crash.row import Row

SHORT_S, LONG_S = (0.0, 0.05), (POLL_S + 0.05, POLL_S + 0.2)  # pauses between two bytes; some longer than the poll
PATIENCE_S = 60.0  # after the last byte
WHOLE, HALF = 4, 2  # writers at once, in the quick form; the full one runs ROUNDS of them
ROUNDS = 5


@dataclass
class Writer:
    """A process that writes one request byte by byte; its times are of the clock that all processes share."""

    id: str
    pid: int
    pipe: int
    whole: bool
    longest_s: float = 0.0  # from before one byte was written until after the next was
    last: float = 0.0  # just before the last byte was written
    end: str | None = None  # done or dead, once it is
    seen: float = 0.0  # just after that was seen


def start(inbox: Path, id: str, whole: bool, chance: random.Random) -> Writer:
    data = files.canonical({"id": id, "text": "slow"})
    data = data if whole else data[: len(data) // 2]
    pauses = [chance.uniform(*SHORT_S) for _ in data]
    for at in chance.sample(range(1, len(data)), 2):
        pauses[at] = chance.uniform(*LONG_S)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.write(write, json.dumps(write_slowly(inbox / f"{id}.json", data, pauses)).encode())
            code = 0
        finally:
            if code:
                traceback.print_exception(*sys.exc_info())
            os._exit(code)
    os.close(write)
    return Writer(id, pid, read, whole)


def write_slowly(path: Path, data: bytes, pauses: list[float]) -> dict[str, float]:
    longest, before = 0.0, time.monotonic()
    with open(path, "wb", buffering=0) as file:
        for at, pause in enumerate(pauses):
            time.sleep(pause)
            now = time.monotonic()
            file.write(data[at : at + 1])
            longest, before = max(longest, time.monotonic() - before), now
    return {"longest_s": longest, "last": before}


def watch(box: Mailbox, writers: list[Writer]) -> None:
    """Serve by the bell, as an agent does, until every request has its end or none can be hoped for."""
    end = time.monotonic() + PATIENCE_S + len(writers) * SETTLE_S
    with Bell([box.folder / "inbox"]) as bell:
        while time.monotonic() < end and not all(one.end for one in writers):
            for claim in box.claims():
                claim.commit_file({"request": claim.request})
            for one in writers:
                if not one.end and (state := box.state(one.id)) in ("done", "dead"):
                    one.end, one.seen = state, time.monotonic()
            bell.wait()


def judge(box: Mailbox, one: Writer) -> str:
    told = json.loads(os.read(one.pipe, 1000))
    os.close(one.pipe)
    os.waitpid(one.pid, 0)
    one.longest_s, one.last = told["longest_s"], told["last"]
    if not one.end:
        return f"{one.id}: is {box.state(one.id)} long after its last byte"
    if stalled(one):
        return ""
    if one.whole:
        if one.end == "dead":
            return f"{one.id}: dead, though it changed every {one.longest_s:.2f} s or sooner"
        reply = box.reply(one.id) or {}
        good = reply.get("request") == {"id": one.id, "text": "slow"}
        return "" if good else f"{one.id}: worked on as {reply.get('request')}"
    waited = one.seen - one.last
    return "" if one.end == "dead" and waited >= SETTLE_S else f"{one.id}: {one.end} {waited:.2f} s after its last byte"


def stalled(one: Writer) -> bool:
    """True if this machine let the writer pause for so long that nobody could have waited for it."""
    return one.longest_s >= SETTLE_S


def run(folder: Path, seed: int, quick: bool) -> Iterator[Row]:
    chance, broken, all_writers = random.Random(seed), [], []
    for n in range(1 if quick else ROUNDS):
        box = Mailbox(folder / f"box-{n}", folders=False, request=None, reply=None, durable=False)
        writers = [start(box.folder / "inbox", f"w{k}", k < WHOLE, chance) for k in range(WHOLE + HALF)]
        watch(box, writers)
        broken += [why for one in writers if (why := judge(box, one))]
        all_writers += writers
    whole = [one for one in all_writers if one.whole and not stalled(one)]
    half = [one for one in all_writers if not one.whole and not stalled(one)]
    early = min((one.seen - one.last for one in half), default=0.0)
    yield Row(
        "a request that is copied in slowly is worked on once it is whole; one that stays half is dead, no sooner than "
        f"{SETTLE_S:g} s after its last byte",
        f"{len(whole)} whole and {len(half)} halves byte by byte, with pauses of up to "
        f"{max((one.longest_s for one in whole), default=0.0):.2f} s; the first dead {early:.2f} s after its last byte",
        "; ".join(broken),
    )
