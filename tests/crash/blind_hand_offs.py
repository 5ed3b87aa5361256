"""The instant between a look and the wait after it: what arrives then rings, and does not wait for the poll."""

from __future__ import annotations

import itertools
import random
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from bus.wake import Bell
from tests.crash.blind_worker import Worker, workers
from tests.crash.row import Row

LONG_WAIT_S = 60.0  # a worker that waits so long and misses a ring is found out by far
WORK_S = 0.001  # what a worker takes for one request, with its waking
MISSED_S = 15.0  # past this a hand-off has waited for something; one takes a millisecond


def handed_over(worker: Worker, bell: Bell, ids: list[str]) -> str:
    """ "" if all are answered long before the worker looks of its own accord, else which were not."""
    began = time.monotonic()
    while not all(worker.box.answered(id) for id in ids):
        if time.monotonic() - began > MISSED_S:
            return f"{' '.join(ids)}: not answered {MISSED_S:.0f} s after they were put"
        bell.wait(0.1)
    return ""


def instants(folder: Path, chance: random.Random, quick: bool) -> Iterator[str]:
    """A request, and while it is worked on a second: at once, a moment later, or while the worker is stopped there."""
    worker = Worker(folder / "box", wait_s=LONG_WAIT_S)
    with workers(worker), Bell([worker.box.folder / "outbox"]) as bell:
        if worker.ready() != "watching":
            return
        for n in range(150 if quick else 3000):
            ids = [f"m{n}-{k}" for k in range(2)]
            worker.box.put(ids[0], {"id": ids[0]})
            if n % 3:
                time.sleep(chance.uniform(0.0, WORK_S))
            if stop := n % 3 == 2:
                worker.process.send_signal(signal.SIGSTOP)
            worker.box.put(ids[1], {"id": ids[1]})
            if stop:
                worker.process.send_signal(signal.SIGCONT)
            yield handed_over(worker, bell, ids)


def starts(folder: Path, chance: random.Random, quick: bool) -> Iterator[str]:
    """Requests while a worker starts: before it watches, between its watch and its first look, and after."""
    for n in range(2 if quick else 20):
        worker, ids = Worker(folder / f"box-{n}", wait_s=LONG_WAIT_S), list[str]()
        with workers(worker), Bell([worker.box.folder / "outbox"]) as bell:
            while worker.process.stdout and not ready_to_read(worker.process.stdout.fileno()):
                ids.append(f"m{len(ids)}")
                worker.box.put(ids[-1], {"id": ids[-1]})
                time.sleep(chance.uniform(0.0, 0.005))
            yield handed_over(worker, bell, ids)


def ready_to_read(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def hand_offs(folder: Path, chance: random.Random, quick: bool) -> Row:
    promise = "what arrives in the instant between a look and the wait after it does not wait for the poll"
    with Bell([folder.parent]) as bell:
        if not bell.watching:
            return Row(promise, "not tried: no watch is to be had here")
    began, count, why = time.monotonic(), 0, ""
    for why in itertools.chain(instants(folder / "a", chance, quick), starts(folder / "b", chance, quick)):
        count += 1
        if why:  # one tells enough, and each takes its time
            break
    return Row(
        promise,
        f"{count:,} hand-offs in {time.monotonic() - began:.1f} s to workers that look every {LONG_WAIT_S:.0f} s: a "
        "second request while the first is worked on, or while the worker is stopped there, or starts",
        why,
    )
