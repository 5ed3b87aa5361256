"""Run jobs in processes of their own that begin at once; medians with their spread; Markdown rows."""

from __future__ import annotations

import atexit
import multiprocessing
import shutil
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

PATIENCE_S = 60.0  # a job that is not done by then counts as failed; the slowest peer needs a tenth of it
PLACES = {"tmpfs": "/dev/shm", "disk": tempfile.gettempdir()}
Ready = Callable[[], None]
Job = Callable[[Ready], Any]

_fork = multiprocessing.get_context("fork")


class Failed(Exception):
    """A contender that crashed or was not done in time; the text says how, in one line."""


def together(*jobs: Job, seconds: float = PATIENCE_S) -> list[Any]:
    """What the jobs return, each run in a process of its own; raises Failed with the first error.

    Each is called with `ready`, which waits until all of them have called it.
    """
    barrier, pipes, processes = _fork.Barrier(len(jobs)), [], []
    for job in jobs:
        receiver, sender = _fork.Pipe(duplex=False)
        processes.append(_fork.Process(target=_work, args=(job, barrier, sender), daemon=True))
        processes[-1].start()
        sender.close()
        pipes.append(receiver)
    try:
        answers = [_answer(pipe, seconds) for pipe in pipes]
    finally:
        for process in processes:
            process.kill()
            process.join()
    for kind, value in sorted(answers, key=lambda one: one[1] == _NOT_READY):
        if kind == "error":
            raise Failed(value)
    return [value for _, value in answers]


_NOT_READY = "another process of the same run failed first"


def _answer(pipe: Any, seconds: float) -> tuple[str, Any]:
    try:
        return pipe.recv() if pipe.poll(seconds) else ("error", f"not done within {seconds:.0f} s")
    except EOFError:
        return "error", "ended without an answer"


def _work(job: Job, barrier: Any, sender: Any) -> None:
    try:
        sender.send(("done", job(barrier.wait)))
    except threading.BrokenBarrierError:
        sender.send(("error", _NOT_READY))
    except Exception as error:  # noqa: BLE001 - a peer may raise anything, and its row shall say what
        barrier.abort()
        last = traceback.extract_tb(error.__traceback__)[-1]
        text = " ".join(f"{type(error).__name__}: {error}".split())
        sender.send(("error", f"{text[:150]} ({Path(last.filename).name}:{last.lineno})"))


@contextmanager
def folder(place: str) -> Iterator[Path]:
    """An empty folder on tmpfs, removed at the end; or on disk, removed when all is measured.

    For minutes ext4 passes over each inode that was freed just now, so a contender would pay for what the one before
    it has removed: creating a file took ten times as long.
    """
    name = tempfile.mkdtemp(prefix="mailroom-bench-", dir=PLACES[place])
    if place == "disk":
        atexit.register(shutil.rmtree, name, ignore_errors=True)
    try:
        yield Path(name)
    finally:
        if place != "disk":
            shutil.rmtree(name, ignore_errors=True)


def spread(values: Sequence[float], form: str = ",.0f", unit: str = "") -> str:
    """`median (least – most)`."""
    if len(values) < 2:
        return f"{values[0]:{form}}{unit}"
    return f"{median(values):{form}}{unit} ({min(values):{form}} – {max(values):{form}})"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


met = missed = 0  # targets of this run


def verdict(good: bool) -> str:
    global met, missed
    met, missed = met + good, missed + (not good)
    return "met" if good else "**missed**"


def head(title: str, *columns: str) -> None:
    print(f"\n## {title}\n\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}", flush=True)


def row(*cells: object) -> None:
    print(f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |", flush=True)


def note(text: str) -> None:
    print(f"\n{text}", flush=True)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
