"""Claiming one message while 100, 10,000 and 100,000 are pending, and what a folder that once held many costs."""

from __future__ import annotations

import itertools
import os
import select
import struct
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.bus import boxes, handoff, measure, peers
from benchmarks.bus.measure import Failed, Ready
from bus import files
from bus.wake import Bell

PENDING = (100, 10_000, 100_000)
CLAIMS, CLAIMS_S = 50, 3.0  # claimed and answered after the first, which lists; fewer where they take longer than that
TARGET_S = 0.0001
FLAT = 2.0  # a claim with the most pending may cost this many times one with the fewest
CONTENDERS: list[tuple[Any, tuple[str, ...]]] = [
    (boxes.Files, ("tmpfs", "disk")),
    (boxes.Maildir, ("tmpfs", "disk")),
    (peers.DirqSimple, ("tmpfs",)),
    (peers.Lite, ("tmpfs",)),
    (peers.HueyFile, ("tmpfs",)),
]
ENOUGH = 5  # claims, for a median
FILL_S = 240.0  # a busy disk takes milliseconds for a name
LOOKS, TURNS, ALARMS, APART_S = 15, 3, 20, 0.02  # listings; turns of so many hand-offs, and the time between two


def run(quick: bool) -> None:
    sizes = [size // 50 + 20 for size in PENDING] if quick else list(PENDING)
    for place in measure.PLACES:
        table(place, sizes)
    emptied(sizes[-1], ALARMS // 5 if quick else ALARMS)


def table(place: str, sizes: list[int]) -> None:
    measure.head(
        f"Claiming on {place} with many pending",
        *("queue", *(f"{size:,} pending: ms per claim (the first, which lists)" for size in sizes), "target", ""),
    )
    for make, places in CONTENDERS:
        if place not in places:
            continue
        cells, medians = [], []
        for size in sizes:
            measure.say(f"{size:,} pending on {place}: {make.name}")
            try:
                first, claims = once(make, place, size)
            except Failed as error:
                cells.append(f"failed: {error}")
                continue
            medians.append(measure.median(claims))
            cells.append(f"{measure.spread([1000 * one for one in claims], '.3f')}; {1000 * first:.1f}")
        target = ("-", "")
        if make is boxes.Files:
            met = len(medians) == len(sizes) and max(medians) <= TARGET_S and medians[-1] <= FLAT * medians[0]
            target = f"≤ {1000 * TARGET_S} ms, flat", measure.verdict(met)
        measure.row(make.name, *cells, *target)


def once(make: Any, place: str, size: int) -> tuple[float, list[float]]:
    """(seconds to the first claim, seconds of each later one); the answers in between are not counted."""
    with measure.folder(place) as folder:
        return measure.together(partial(claim_some, make, folder, size), seconds=FILL_S)[0]


def claim_some(make: Any, folder: Path, size: int, ready: Ready) -> tuple[float, list[float]]:
    box, times = make(folder), []
    for n in range(size):
        box.put(n)
    began = time.monotonic()
    for claim in itertools.islice(box.claims(), CLAIMS + 1):
        times.append(time.monotonic() - began)
        box.end(claim)
        if sum(times) > CLAIMS_S and len(times) > ENOUGH:
            break
        began = time.monotonic()
    if len(times) < min(size, ENOUGH):
        raise Failed(f"only {len(times)} of {size} were claimed")
    return times[0], times[1:]


def emptied(many: int, alarms: int) -> None:
    """An inbox that once held many names: listing it, and hand-offs that list, and that try the event's name."""
    measure.head(
        f"An inbox on disk before and after it held {many:,} requests",
        *(
            "",
            "listing the inbox, ms",
            "hand-off that lists, as agents do, ms",
            "hand-off that claims the event's name first, ms",
        ),
    )
    for what, size in (("new", 0), (f"emptied of {many:,}", many)):
        measure.say(f"an inbox on disk, {what}")
        with measure.folder("disk") as folder:
            measure.together(partial(fill_and_empty, folder, size), seconds=FILL_S)
            listing = measure.together(partial(list_it, folder))[0]
            lists: list[float] = []
            names_it: list[float] = []
            for _ in range(TURNS):
                lists += alarm(folder, alarms, that_lists)
                names_it += alarm(folder, alarms, that_claims_by_name)
        cells = [measure.spread([1000 * one for one in values], ".2f") for values in (listing, lists, names_it)]
        measure.row(what, *cells)
    measure.note(
        "ext4 never shrinks a folder: listing reads every block that it once had, however few names are left. "
        "A claim opens its request by name, which the folder's index finds at once. tmpfs forgets a name with its file."
    )


def fill_and_empty(folder: Path, size: int, ready: Ready) -> None:
    box = boxes.Files(folder)
    for n in range(1, size + 1):
        box.put(n)
    for n in range(1, size + 1):
        os.unlink(f"{boxes.id_of(n)}.json", dir_fd=box.mailbox.inbox_fd)


def list_it(folder: Path, ready: Ready) -> list[float]:
    mailbox, times = boxes.Files(folder).mailbox, []
    for _ in range(LOOKS):
        began = time.monotonic()
        files.names(mailbox.inbox_fd)
        times.append(time.monotonic() - began)
    return times


def alarm(folder: Path, alarms: int, listener: Any) -> list[float]:
    """Seconds from each of some puts to its claim, a little apart so that each wakes the listener anew."""
    first = 10**6 * (1 + len(os.listdir(folder / "memory" / "outbox")))  # IDs that nobody has asked yet
    put, taken = measure.together(partial(ring, folder, first, alarms), partial(listen, folder, alarms, listener))
    return [taken[n] - put[n] for n in put]


def ring(folder: Path, first: int, alarms: int, ready: Ready) -> dict[int, float]:
    box, stamps = boxes.Files(folder), {}
    ready()
    time.sleep(5 * APART_S)  # the other one watches by then
    for n in range(first, first + alarms):
        stamps[n] = time.monotonic()
        box.put(n)
        time.sleep(APART_S)
    return stamps


def listen(folder: Path, alarms: int, listener: Any, ready: Ready) -> dict[int, float]:
    box = boxes.Files(folder)
    taken = handoff.Taken(box, alarms)
    ready()
    listener(box, taken)
    return taken.stamps


that_lists = handoff.by_bell


def that_claims_by_name(box: Any, taken: handoff.Taken) -> None:
    """What a Bell that told names would allow: try those first, and list only at the poll, for what was missed."""
    with Bell(box.watched) as bell:
        taken.drain()
        while not taken.enough:
            if not select.select([bell._watch], [], [], bell.poll_s)[0]:
                taken.drain()
                continue
            for name in names(os.read(bell._watch, 1 << 16)):
                if claim := box.mailbox.claim(name.removesuffix(".json")):
                    taken.note(claim)
                    box.end(claim)


def names(events: bytes) -> Iterator[str]:
    """The names in a row of `struct inotify_event`: watch, mask, cookie, length, name filled up with zeros."""
    at = 0
    while at < len(events):
        length = struct.unpack_from("iIII", events, at)[3]
        yield os.fsdecode(events[at + 16 : at + 16 + length].rstrip(b"\0"))
        at += 16 + length
