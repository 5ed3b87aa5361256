"""Messages per second through one queue: a putter and a worker, two processes that begin at once.

The clock runs from before the first put to after the last reply (or acknowledgement). Contenders take turns within
each repetition, and a ratio compares two figures that were taken one after the other: the machine is noisy.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.bus import boxes, measure, peers
from benchmarks.bus.measure import Failed, Ready

IDLE_S = 0.0005  # how long any worker sleeps when its queue was empty, or it would only wait for the processor
# Messages, the same for all: what a queue pays per message often grows with how many are pending. Fewer on a disk,
# where some need milliseconds for each.
COUNTS = {"tmpfs": 5000, "disk": 1000}
REPETITIONS = {"tmpfs": 5, "disk": 3}
BUDGET_S = 8.0  # per contender and table: one that has used it up gets no further repetition
OURS = boxes.Files
CPU = "CPU µs per message, putter + worker"
PLAIN: list[Any] = [
    OURS,
    boxes.MaildirReply,
    boxes.MaildirJson,
    boxes.MaildirCommon,
    boxes.Folders,
    boxes.Maildir,
    *peers.ALL,
]
TARGETS = {  # ours / theirs, at least
    boxes.MaildirReply: 0.7,
    boxes.MaildirJson: 0.7,
    boxes.MaildirCommon: 0.7,
    peers.HueyFile: 5.0,
    peers.Kombu: 5.0,
    peers.PersistAck: 5.0,
    peers.Lite: 2.0,
}
PER_SECOND = 8000  # ours, at least


@dataclass
class Result:
    """What one contender reached; `alone` says why it had to put all first and take all then, in one process."""

    rates: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    puts: list[float] = field(default_factory=list)  # CPU seconds per message of the putter
    rests: list[float] = field(default_factory=list)  # and of the worker
    used_s: float = 0.0
    alone: str = ""
    failed: str = ""


def rate(box: Any, count: int, place: str, alone: bool = False) -> tuple[float, float, float]:
    """(messages per second, CPU seconds per message of the putter, of the worker); raises Failed.

    Through a new queue in an empty folder.
    """
    with measure.folder(place) as folder:
        if alone:
            began, ended, put_s, rest_s = measure.together(partial(one_process, box, folder, count))[0]
        else:
            (began, put_s), (ended, rest_s) = measure.together(
                partial(putter, box, folder, count), partial(worker, box, folder, count)
            )
        return count / (ended - began), put_s / count, rest_s / count


def putter(make: Any, folder: Path, count: int, ready: Ready) -> tuple[float, float]:
    ready()  # the worker makes the queue first: two creators of one SQLite file get in each other's way
    box = make(folder)
    ready()
    began, cpu = time.monotonic(), time.process_time()
    for n in range(count):
        box.put(n)
    return began, time.process_time() - cpu


def worker(make: Any, folder: Path, count: int, ready: Ready) -> tuple[float, float]:
    box = make(folder)
    ready()
    ready()
    left, cpu = count, time.process_time()
    while left:
        before = left
        for claim in box.claims():
            box.end(claim)
            left -= 1
        if left == before:
            time.sleep(IDLE_S)
    return time.monotonic(), time.process_time() - cpu


def one_process(make: Any, folder: Path, count: int, ready: Ready) -> tuple[float, float, float, float]:
    box = make(folder)
    began, cpu = time.monotonic(), time.process_time()
    for n in range(count):
        box.put(n)
    half_cpu = time.process_time()
    for claim in box.claims():
        box.end(claim)
    return began, time.monotonic(), half_cpu - cpu, time.process_time() - half_cpu


def interleaved(contenders: list[Any], count: int, place: str, repetitions: int) -> dict[Any, Result]:
    """What each contender reached, and its ratios against the first of them.

    The first runs again right before each that has a target, since a neighbour may come or go within seconds.
    """
    ours, results = contenders[0], {box: Result(alone=getattr(box, "alone", "")) for box in contenders}
    for repetition in range(repetitions):
        for box in contenders:
            result = results[box]
            if result.failed or (result.used_s > BUDGET_S and box is not ours):
                continue
            measure.say(f"{count:,} messages on {place}, {repetition + 1} of {repetitions}: {box.name}")
            for one in [ours, box] if box in TARGETS else [box]:
                measured(one, count, place, results[one], results[ours])
            if results[ours].failed:
                raise Failed(f"{ours.name}: {results[ours].failed}")
    return results


def measured(box: Any, count: int, place: str, result: Result, ours: Result) -> None:
    """Run one contender once and add what it reached to its result."""
    began = time.monotonic()
    try:
        reached, put_s, rest_s = attempt(box, count, place, result)
    except Failed as error:
        result.failed = str(error)
        return
    result.used_s += time.monotonic() - began
    result.rates.append(reached)
    result.ratios.append(ours.rates[-1] / reached)
    result.puts.append(put_s)
    result.rests.append(rest_s)


def attempt(box: Any, count: int, place: str, result: Result) -> tuple[float, float, float]:
    """`rate`; one that cannot be used by two processes at once gets a second chance in one."""
    if not result.alone:
        try:
            return rate(box, count, place)
        except Failed as error:
            if issubclass(box, boxes.Files | boxes.Folders):
                raise
            result.alone, result.used_s = str(error), 0.0
            for figures in (result.rates, result.ratios, result.puts, result.rests):
                figures.clear()
    return rate(box, count, place, alone=True)


def run(quick: bool) -> None:
    for place, count in COUNTS.items():
        table(place, count // 20 if quick else count, 1 if quick else REPETITIONS[place])


def table(place: str, count: int, repetitions: int) -> None:
    results = interleaved(PLAIN, count, place, repetitions)
    measure.head(
        f"Throughput on {place}, not durable, {count:,} messages of {boxes.SIZE:,} bytes",
        *("queue", "per message", "messages per second", "ours ÷ it", "target", "", CPU),
    )
    for box, result in results.items():
        if result.failed:
            measure.row(box.name, box.shape, f"failed: {result.failed}", "-", "-", "", "-")
            continue
        target, met = wanted(box, result) if place == "tmpfs" else ("-", "")
        against = "-" if box is OURS else measure.spread(result.ratios, ".2f", " ×")
        star = "*" if result.alone else ""
        measure.row(box.name, box.shape, measure.spread(result.rates) + star, against, target, met, cpu(result))
    for box, result in results.items():
        if result.alone and not result.failed:
            measure.note(f"\\* {box.name}: one process puts all and then takes all; two at once: {result.alone}.")
    measure.note("huey runs each task in the worker's own loop, without its polling consumer (see the hand-off).")


def cpu(result: Result) -> str:
    """The medians, which neighbours on the machine disturb less than the rates."""
    return " + ".join(f"{1e6 * measure.median(figures):.0f}" for figures in (result.puts, result.rests))


def wanted(box: Any, result: Result) -> tuple[str, str]:
    if box is OURS:
        return f"≥ {PER_SECOND:,}/s", measure.verdict(measure.median(result.rates) >= PER_SECOND)
    if box in TARGETS:
        return f"≥ {TARGETS[box]} ×", measure.verdict(measure.median(result.ratios) >= TARGETS[box])
    return "-", ""
