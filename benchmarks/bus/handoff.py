"""From put to claimed, while the consumer waits: one process puts 100 a second, another waits, claims and answers.

Both stamp with CLOCK_MONOTONIC, which processes share: the putter before each put, the consumer at each claim.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.bus import boxes, measure, peers
from benchmarks.bus.measure import Failed, Ready
from bus.wake import Bell

PER_SECOND = 100
SECONDS, REPETITIONS = 3.0, 3
LATE_S = 12.0  # after the last put: a poller may sleep for seconds, and then still have all of them to take
LOOK_S = 0.01  # how often a consumer that runs in threads of its own is asked whether it is done
P50_S, P99_S = 0.0006, 0.005  # the targets on tmpfs


class Taken:
    """When each message was claimed; `enough` when all were, or when it is too late."""

    def __init__(self, box: Any, count: int) -> None:
        self.box, self.count, self.end = box, count, time.monotonic() + count / PER_SECOND + LATE_S
        self.stamps: dict[int, float] = {}

    @property
    def enough(self) -> bool:
        return len(self.stamps) >= self.count or time.monotonic() > self.end

    def note(self, claim: Any) -> None:
        now = time.monotonic()
        self.stamps[self.box.number(claim)] = now

    def drain(self) -> None:
        for claim in self.box.claims():
            self.note(claim)
            self.box.end(claim)


def by_bell(box: Any, taken: Taken) -> None:
    """Wait for inotify's event on the folder, then list."""
    with Bell(box.watched) as bell:
        while not taken.enough:
            taken.drain()
            bell.wait()


def by_watchdog(box: Any, taken: Taken) -> None:
    """watchdog's Observer with a handler of created files, as its documentation shows."""
    handler = peers.load("watchdog.events").FileSystemEventHandler()
    handler.on_created = lambda event: taken.drain()
    observer = peers.load("watchdog.observers").Observer()
    observer.schedule(handler, str(box.watched[0]))
    observer.start()
    while not taken.enough:
        time.sleep(LOOK_S)
    observer.stop()
    observer.join()


def by_kombu(box: Any, taken: Taken) -> None:
    """A blocking get, which polls as kombu does by default."""
    while not taken.enough:
        with contextlib.suppress(box.queue.Empty):
            message = box.queue.get(block=True, timeout=LATE_S)
            taken.note(message)
            box.end(message)


def by_huey(box: Any, taken: Taken) -> None:
    """huey's own consumer with one thread and its default delays; the stamp is taken before the task is run."""
    box.huey.pre_execute("note")(taken.note)
    consumer = box.huey.create_consumer(workers=1, periodic=False)
    consumer.start()
    while not taken.enough:
        time.sleep(LOOK_S)
    consumer.stop(graceful=True)


Waiter = Callable[[Any, Taken], None]
CONTENDERS: list[tuple[str, Any, Waiter, tuple[str, ...]]] = [
    ("**mailbox, file replies**, bus.wake.Bell", boxes.Files, by_bell, ("tmpfs", "disk")),
    ("Maildir, reply, raw inotify", boxes.MaildirReply, by_bell, ("tmpfs", "disk")),
    ("Maildir, reply, watchdog as commonly used", boxes.MaildirReply, by_watchdog, ("tmpfs",)),
    ("huey, SqliteStorage, its consumer", peers.HueySqlite, by_huey, ("tmpfs",)),
    ("kombu, filesystem, its own polling", peers.Kombu, by_kombu, ("tmpfs",)),
]


def run(quick: bool) -> None:
    count, repetitions = (30, 1) if quick else (int(PER_SECOND * SECONDS), REPETITIONS)
    for place in measure.PLACES:
        table(place, count, repetitions)


def table(place: str, count: int, repetitions: int) -> None:
    rows = [one for one in CONTENDERS if place in one[3]]
    delays: dict[str, list[list[float]]] = {one[0]: [] for one in rows}
    failed: dict[str, str] = {}
    for repetition in range(repetitions):
        for name, make, waiter, _ in rows:
            if name in failed:
                continue
            measure.say(f"hand-off on {place}, {repetition + 1} of {repetitions}: {name}")
            try:
                delays[name].append(once(make, waiter, place, count))
            except Failed as error:
                failed[name] = str(error)
    measure.head(
        f"Hand-off on {place}, {count:,} messages at {PER_SECOND} a second",
        *("queue", "p50, ms", "p99, ms", "longest, ms", "target", ""),
    )
    for name, *_ in rows:
        if name in failed:
            measure.row(name, f"failed: {failed[name]}", "-", "-", "-", "")
        else:
            show(name, delays[name], target=place == "tmpfs" and name == rows[0][0])


def show(name: str, runs: list[list[float]], target: bool) -> None:
    p50, p99 = ([measure.percentile(one, share) for one in runs] for share in (0.5, 0.99))
    cells = [measure.spread([1000 * value for value in values], ".2f") for values in (p50, p99, [max(o) for o in runs])]
    met = measure.median(p50) <= P50_S and measure.median(p99) <= P99_S
    wanted = f"p50 ≤ {1000 * P50_S:.1f}, p99 ≤ {1000 * P99_S:.0f}"
    measure.row(name, *cells, wanted if target else "-", measure.verdict(met) if target else "")


def once(make: Any, waiter: Waiter, place: str, count: int) -> list[float]:
    """Seconds from each put to its claim; raises Failed if one was never claimed."""
    with measure.folder(place) as folder:
        put, taken = measure.together(
            partial(putter, make, folder, count), partial(consumer, make, waiter, folder, count)
        )
    if missing := put.keys() - taken.keys():
        raise Failed(f"{len(missing)} of {count} never arrived within {LATE_S:.0f} s of the last put")
    return [taken[n] - put[n] for n in put]


def putter(make: Any, folder: Path, count: int, ready: Ready) -> dict[int, float]:
    ready()
    box = make(folder)
    ready()
    stamps, began = {}, time.monotonic() + 0.1  # the consumer is waiting by then
    for n in range(count):
        time.sleep(max(0.0, began + n / PER_SECOND - time.monotonic()))
        stamps[n] = time.monotonic()
        box.put(n)
    return stamps


def consumer(make: Any, waiter: Waiter, folder: Path, count: int, ready: Ready) -> dict[int, float]:
    box = make(folder)
    ready()
    ready()
    taken = Taken(box, count)
    waiter(box, taken)
    return taken.stamps
