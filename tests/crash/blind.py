"""Blind watchers: with no inotify, or with its events lost, every request is still found, and within one poll."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bus.mailbox import Mailbox
from bus.run import Run
from bus.wake import POLL_S
from tests import small
from tests.crash.blind_hand_offs import hand_offs
from tests.crash.blind_worker import LIMITS, NO_DESCRIPTOR, NOT_PERMITTED, PATIENCE_S, Worker, workers
from tests.crash.row import Row

SLACK_S = 0.5  # what a busy machine may add to the poll
MANY = 20_000  # files in one burst; the kernel keeps 16,384 events
_CREATED, _OVERFLOW = 0x100, 0x4000  # IN_CREATE and IN_Q_OVERFLOW of <sys/inotify.h>
_MAX_EVENTS = 200_000  # a system that keeps more events is not flooded


def blind(folder: Path, chance: random.Random, quick: bool) -> Iterator[Row]:
    """Put requests at random moments into the mailboxes of workers that cannot watch."""
    all_workers = {limit: Worker(folder / str(n), limit) for n, limit in enumerate([*LIMITS, NO_DESCRIPTOR])}
    worst: dict[str, float] = {}
    with workers(*all_workers.values()):
        said = {limit: one.ready() for limit, one in all_workers.items()}
        broken = [f"{limit}: it watches, so nothing was tried" for limit, word in said.items() if word == "watching"]
        blinded = {limit: one for limit, one in all_workers.items() if said[limit] == "blind"}
        for n in range(4 if quick else 40):
            time.sleep(chance.uniform(0.0, POLL_S / 4))
            put_at = {limit: put(one.box, f"m{n}") for limit, one in blinded.items()}
            for limit, one in blinded.items():
                if not one.answered([f"m{n}"]):
                    broken.append(f"{limit}: m{n} is {one.box.state(f'm{n}')} after {PATIENCE_S:.0f} s")
                elif reply := one.box.reply(f"m{n}"):
                    worst[limit] = max(worst.get(limit, 0.0), reply["claimed"] - put_at[limit])
    late = [f"{limit}: claimed after {s:.2f} s" for limit, s in worst.items() if s > POLL_S + SLACK_S]
    not_tried = [limit for limit, word in said.items() if not word]
    yield Row(
        f"where no watch can be had, a request is claimed within the poll of {POLL_S} s",
        "; ".join(f"{limit}: {s:.2f} s at the most" for limit, s in worst.items())
        + (f"; not tried, this system allows no user namespaces: {', '.join(not_tried)}" if not_tried else ""),
        "; ".join(broken + ([] if quick else late)),
    )


def put(box: Mailbox, id: str) -> float:
    """Put a request; returns when that was done."""
    box.put(id, {"id": id})
    return time.monotonic()


def flooded(inbox: Path, events: int) -> None:
    """More events than the kernel keeps: two hidden names that come and go; one that repeats the last is merged."""
    (inbox / ".flood").touch()
    for n in range(events + 100):
        os.link(inbox / ".flood", inbox / f".{n % 2}")
        os.unlink(inbox / f".{n % 2}")


class Witness:
    """A watch of our own that nobody reads: it tells whether the kernel lost events."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None)
        self.descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        libc.inotify_add_watch(self.descriptor, os.fsencode(folder), _CREATED)

    def lost(self) -> bool:
        with contextlib.suppress(BlockingIOError), os.fdopen(self.descriptor, "rb", buffering=0) as file:
            while data := file.read(65536):
                at = 0
                while at < len(data):
                    _, mask, _, length = struct.unpack_from("iIII", data, at)
                    if mask & _OVERFLOW:
                        return True
                    at += 16 + length
        return False


def overflow(folder: Path, quick: bool) -> Row:
    """A worker is stopped while more happens in its inbox than the kernel tells; then it goes on."""
    promise = "when the queue of events overflows, nothing that was put is missed"
    kept = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if kept > _MAX_EVENTS:
        return Row(promise, f"not tried: this system keeps {kept:,} events")
    worker, count = Worker(folder / "box"), 500 if quick else MANY
    with workers(worker):
        if worker.ready() != "watching":
            return Row(promise, "not tried: no watch is to be had here")
        witness = Witness(worker.box.folder / "inbox")
        worker.process.send_signal(signal.SIGSTOP)
        worker.box.put("first", {})
        if quick:  # the events of many files, with no files to work through
            flooded(worker.box.folder / "inbox", kept)
        worker.box.put_many((f"m{n}", {"id": f"m{n}"}) for n in range(count))
        began, lost = time.monotonic(), witness.lost()
        worker.process.send_signal(signal.SIGCONT)
        end = time.monotonic() + PATIENCE_S
        while len(worker.box.listing().replies) <= count and time.monotonic() < end:
            time.sleep(0.05)
        seconds = time.monotonic() - began
        put_at = put(worker.box, "after")
        worker.answered(["after"])
        after = (worker.box.reply("after") or {"claimed": put_at + PATIENCE_S})["claimed"] - put_at
        missed = count + 2 - len(worker.box.listing().replies)
    broken = f"{missed} of {count + 2} were never answered" if missed else "" if lost else "the queue did not overflow"
    return Row(
        promise,
        f"{count:,} requests in one burst{f', after {kept:,} other events,' if quick else ''} while the worker was "
        f"stopped; all answered {seconds:.1f} s after it went on, the next {max(0.0, after):.3f} s after "
        "it was put",
        broken,
    )


def agents(folder: Path, quick: bool) -> Row:
    """The agents of a small run, each with no watch, through its steps and rounds."""
    promise = "agents that cannot watch finish a run"
    rounds, steps = (1, ["10-list"]) if quick else (2, list(small.FLOW))
    folder.mkdir()
    opened = Run(small.make(folder / "runs"))
    opened.want_rounds(rounds)
    launcher = [sys.executable, "-m", "tests.crash.blind_worker", "with", "no watcher allowed"]
    began = time.monotonic()
    them = [
        subprocess.Popen([*launcher, *small.agent(opened.folder, step, "--watch")], cwd=small.ROOT) for step in steps
    ]
    try:
        end, ids = time.monotonic() + PATIENCE_S, [f"r{n + 1}" for n in range(rounds)]
        done = False
        while not done and time.monotonic() < end and all(one.poll() is None for one in them):
            time.sleep(0.05)
            done = all(opened.mailbox(step).answered(id) for step in steps for id in ids)
        watching = [one.pid for one in them if one.poll() is None and watches(one.pid)]
        codes = [one.poll() for one in them]
    finally:
        for one in them:
            one.kill()
            one.wait()
        opened.close()
    if NOT_PERMITTED in codes:
        return Row(promise, "not tried: this system allows no user namespaces")
    broken = "an agent watches, so nothing was tried" if watching else f"exit codes {codes}"
    return Row(
        promise,
        f"{len(steps)} agents, {rounds} rounds, {time.monotonic() - began:.1f} s with their start",
        "" if done and not watching else broken,
    )


def watches(pid: int) -> bool:
    """True if a process has an inotify descriptor."""
    for one in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if "inotify" in os.readlink(f"/proc/{pid}/fd/{one}"):
                return True
    return False


def run(folder: Path, seed: int, quick: bool) -> Iterator[Row]:
    chance = random.Random(seed)
    yield from blind(folder / "blind", chance, quick)
    yield overflow(folder / "overflow", quick)
    yield hand_offs(folder / "hand-offs", chance, quick)
    yield agents(folder / "agents", quick)
