"""Keep what a run learned where every run can recall it.

    bin/agent memory runs/gpu-ops --once

Reads   (a request) observation.v1: one thing learned
Writes  (a reply) remembered.v1: the observation again, so that a moved run takes it along
        ../memory/observations/ID.json  one immutable file per observation, shared by all runs
        ../memory/memory.jsonl          the same as entities and relations, with what MCP clients told (bin/mcp)
Asks    nothing
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from agents import _recall
from agents._agent import GiveUp, main
from agents._publish import publish_path
from agents._statements import SHELF, Line, Shelf, merged
from bus import files, locks, schema

LOCK_WAIT_S = 30.0  # compiling thousands of observations takes about a second; past this something is stuck
LOCK_POLL_S = 0.02


def memory(job: Any) -> dict[str, Any]:
    """Keep the requested observation and compile all of them; doing it twice changes nothing."""
    try:
        document = _recall.check(job.request)
    except schema.Invalid as error:
        raise GiveUp(f"memory: {error}; make it with agents._recall.observation") from None
    folder = job.run.folder.parent / _recall.SHARED
    remember(folder, document)
    for problem in compile_graph(folder):
        job.say(problem)
    return {"schema": "remembered.v1", "observation": document}


def remember(folder: Path, document: _recall.Observation) -> bool:
    """Publish one observation; True if it is new. A torn file in its place is set aside as `ID.json.torn`."""
    shelf = folder / "observations"
    shelf.mkdir(parents=True, exist_ok=True)
    path = shelf / f"{document['id']}.json"
    try:
        return publish_path(path, files.canonical(document))
    except FileExistsError:
        if not is_observation(path, document):
            path.rename(path.with_name(f"{path.name}.torn"))
            publish_path(path, files.canonical(document))
        return False


def is_observation(path: Path, document: _recall.Observation) -> bool:
    """True if the file holds this observation, in whatever spacing."""
    try:
        return _recall.check(files.read_json(path)) == document
    except (files.BadFile, schema.Invalid):
        return False


def compile_graph(folder: Path) -> list[str]:
    """Write memory.jsonl anew from all that is kept; returns one line for each file that could not be read.

    Under a lock from the listing to the rename, so that of two runs the later never publishes the older listing.
    """
    with locked(folder / "lock"):
        found, problems = _recall.load(folder / "observations")
        shelf = Shelf(folder / SHELF)
        shelf.look()
        write_graph(folder, merged(_recall.graph(found), shelf))
    return problems + shelf.problems


def write_graph(folder: Path, lines: Iterable[Line]) -> None:
    """Replace memory.jsonl by these lines; for who holds the lock."""
    files.replace(folder / "memory.jsonl", b"".join(map(files.canonical, lines)))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a kernel lock on `path`; raises TimeoutError after LOCK_WAIT_S."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + LOCK_WAIT_S
        while not locks.take(descriptor):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path.name}: held by another agent for {LOCK_WAIT_S:.0f} s; end it")
            time.sleep(LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    raise SystemExit(main(memory))
