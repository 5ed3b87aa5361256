"""What survives a power cut, and its price on a disk: durable puts and replies, and many puts at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.bus import boxes, measure, peers, throughput
from benchmarks.bus.measure import Failed, Ready

COUNT = 150  # messages: some need 10 ms for each
CONTENDERS: list[Any] = [
    boxes.DurableFiles,
    boxes.MaildirDurable,
    boxes.DurableFolders,
    peers.HueySqliteDurable,
    peers.PersistAck,
    peers.Lite,
]
TRACED = 40  # messages whose fsyncs are counted
FSYNCS = ("fsync", "fdatasync", "syncfs", "sync")
BATCH, ONE_BY_ONE = 1000, 100  # messages put at once, and one after another, for one comparison
BATCH_TARGET = 5.0  # one by one / at once, per message
REPETITIONS = 3


def run(quick: bool) -> None:
    serving(COUNT // 10 if quick else COUNT, 1 if quick else REPETITIONS)
    batches(BATCH // 5 if quick else BATCH, ONE_BY_ONE // 5 if quick else ONE_BY_ONE, 1 if quick else REPETITIONS)


def serving(count: int, repetitions: int) -> None:
    results = throughput.interleaved(CONTENDERS, count, "disk", repetitions)
    measure.head(
        f"Throughput on disk, durable, {count:,} messages",
        *("queue", "per message", "fsyncs per message", "messages per second", "ours ÷ it"),
    )
    for box, result in results.items():
        if result.failed:
            measure.row(box.name, box.shape, "-", f"failed: {result.failed}", "-")
            continue
        against = "-" if box is CONTENDERS[0] else measure.spread(result.ratios, ".2f", " ×")
        measure.row(box.name, box.shape, fsyncs(box), measure.spread(result.rates), against)
    measure.note(
        "Ours and the Maildir of this table answer only for what is on the disk: file, then folder, for request and "
        "reply. SQLite's write-ahead log is fsynced once a commit at synchronous=FULL (persist-queue, huey here); "
        "litequeue sets NORMAL, whose last commits a power cut takes. The others of the table above never fsync."
    )


def fsyncs(box: Any) -> str:
    """fsyncs per message of putter and worker together, as strace counts them."""
    if not shutil.which("strace"):
        return "not counted: no strace"
    with measure.folder("disk") as folder:
        measure.together(partial(make, box, folder))
        trace = folder / "trace.txt"
        code = f"from benchmarks.bus import durable; durable.traced({CONTENDERS.index(box)}, {str(folder)!r})"
        argv = ["strace", "-f", "-o", str(trace), "-e", f"trace={','.join(FSYNCS)}", sys.executable, "-c", code]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"not counted: {done.stderr.strip().splitlines()[-1][:80]}"
        calls = [line for line in trace.read_text().splitlines() if any(f" {one}(" in line for one in FSYNCS)]
    return f"{len(calls) / TRACED:.1f}"


def make(box: Any, folder: Path, ready: Ready) -> None:
    box(folder)


def traced(index: int, folder: str) -> None:
    box = CONTENDERS[index](Path(folder))
    for n in range(TRACED):
        box.put(n)
    for claim in box.claims():
        box.end(claim)


def batches(many: int, few: int, repetitions: int) -> None:
    """`put_many` beside `put` after `put`, each in a new mailbox on the disk."""
    at_once, one_by_one = [], []
    for repetition in range(repetitions):
        measure.say(f"put_many on disk, {repetition + 1} of {repetitions}")
        try:
            at_once += measure.together(partial(put_at_once, many))
            one_by_one += measure.together(partial(put_one_by_one, few))
        except Failed as error:
            measure.note(f"put_many failed: {error}")
            return
    ratios = [slow / fast for slow, fast in zip(one_by_one, at_once, strict=True)]
    measure.head("Durable puts on disk", "how", "ms per message", "one by one ÷ it", "target", "")
    measure.row(f"put, {few:,} one by one", measure.spread([1000 * one for one in one_by_one], ".2f"), "-", "-", "")
    measure.row(
        f"put_many of {many:,}",
        measure.spread([1000 * one for one in at_once], ".3f"),
        measure.spread(ratios, ".1f", " ×"),
        f"≥ {BATCH_TARGET:.0f} ×",
        measure.verdict(measure.median(ratios) >= BATCH_TARGET),
    )


def put_at_once(count: int, ready: Ready) -> float:
    with measure.folder("disk") as folder:
        mailbox = boxes.DurableFiles(folder).mailbox
        pairs = [(boxes.id_of(n), boxes.document(n)) for n in range(count)]
        began = time.monotonic()
        new = mailbox.put_many(pairs)
        took = time.monotonic() - began
        if new != count or len(mailbox.listing().requests) != count:
            raise Failed(f"put_many says {new}, of {count}")
        return took / count


def put_one_by_one(count: int, ready: Ready) -> float:
    with measure.folder("disk") as folder:
        box = boxes.DurableFiles(folder)
        began = time.monotonic()
        for n in range(count):
            box.put(n)
        return (time.monotonic() - began) / count
