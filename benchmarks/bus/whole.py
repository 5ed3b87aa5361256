"""Figures of a whole run: bin/status over 100,000 replies, and how fast what was killed is back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from agents._run import create_run
from benchmarks.__main__ import GOAL, ROOT, SWARM, restart, restart_supervisor
from benchmarks.bus import boxes, measure

REPLIES = 100_000
NAMES_PER_FILE = 50_000  # ext4 allows 65,000 names for one file, and a listing does not read what they name
STATUS_S, AGENT_S, SUPERVISOR_S = 2.0, 0.5, 2.0  # the targets
REPETITIONS = 3
MEMORY = {"memory": {"agent": "memory", "request": "observation.v1", "reply": "remembered.v1"}}


def run_status(quick: bool) -> None:
    replies = REPLIES // 50 if quick else REPLIES
    measure.head(f"bin/status of a run with {replies:,} replies of a service", "where", "seconds", "target", "")
    for place in measure.PLACES:
        measure.say(f"bin/status on {place}")
        with measure.folder(place) as folder:
            took = [status(run, replies) for run in [make(folder, replies)] for _ in range(REPETITIONS)]
        met = measure.verdict(measure.median(took) <= STATUS_S)
        measure.row(place, measure.spread(took, ".2f"), f"< {STATUS_S:.0f} s", met)


def make(folder: Path, replies: int) -> Path:
    """A run of two steps whose memory service has answered so many requests."""
    import yaml

    run = create_run(folder / "bench", GOAL, 1, yaml.safe_load(SWARM)["flow"], MEMORY, "1")
    run.close()
    box = boxes.Files(run.folder)
    for n in range(0, replies, NAMES_PER_FILE):
        box.put(n)
        for claim in box.claims():
            box.end(claim)
        for more in range(n + 1, min(n + NAMES_PER_FILE, replies)):
            names = (f"{boxes.id_of(one)}.json" for one in (n, more))
            os.link(*names, src_dir_fd=box.mailbox.outbox_fd, dst_dir_fd=box.mailbox.outbox_fd)
    return run.folder


def status(run: Path, replies: int) -> float:
    """Wall seconds of `bin/status RUN`; AssertionError if it does not tell of every reply."""
    began = time.monotonic()
    argv = [sys.executable, str(ROOT / "bin" / "status"), str(run)]
    told = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    took = time.monotonic() - began
    assert f"{replies:,} done" in told, told
    return took


def run_restart(quick: bool) -> None:
    measure.head("Back after kill -9, seconds", "what", "measured", "target", "")
    cases: list[tuple[str, Callable[[Path], float], float]] = [
        ("an agent, until it waits for work again", restart, AGENT_S),
        ("the supervisor under bin/guard, until its next beat", restart_supervisor, SUPERVISOR_S),
    ]
    for what, once, target in cases:
        took = []
        for repetition in range(1 if quick else REPETITIONS):
            measure.say(f"killed, {repetition + 1}: {what}")
            with measure.folder("disk") as folder:
                took.append(once(folder))
        met = measure.verdict(measure.median(took) <= target)
        measure.row(what, measure.spread(took, ".2f"), f"≤ {target} s", met)
    measure.note("Read elsewhere, not measured here: runit 0.01–0.02 s, s6 0.02–0.03, circus 0.3–0.9, supervisord 1.0.")
