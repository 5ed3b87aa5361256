"""A real agent process whose inbox is full of bad input: it answers what is good, and lives on."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bus.run import Run
from bus.wake import POLL_S
from tests import small
from tests.crash.canary import Canary
from tests.crash.input_catalogue import BYTES, NAMES, OF_A_STEP, THINGS, request
from tests.crash.row import Row

STEP = "10-list"
PATIENCE_S = 60.0
MEMORY = 100 << 20  # bytes over what the agent held before: a 2 GB file must not be read
ROUNDS = ("r1", "r2", "r3")


def fill(inbox: Path, canary: Canary) -> set[str]:
    """Bad content, odd files and odd names, all at once; returns the IDs that must be dead."""
    ids = set()
    for n, (plant, _) in enumerate([*BYTES.values(), *OF_A_STEP.values(), *THINGS.values()]):
        plant(inbox / f"bad{n}.json", {**request(f"bad{n}"), "step": STEP}, canary.folder)
        ids.add(f"bad{n}")
    for name in NAMES:
        with open(os.fsencode(inbox) + b"/" + name, "w"):
            pass
    return ids


def slowly(inbox: Path, id: str) -> None:
    """A good request by hand, in three pieces, with pauses longer than the agent's poll."""
    text = f'{{"schema": "request.v1", "id": "{id}", "step": "{STEP}", "round": {id[1:]}}}'
    with open(inbox / f"{id}.json", "w", buffering=1) as file:
        for at in range(0, len(text), 30):
            file.write(text[at : at + 30])
            file.flush()
            time.sleep(POLL_S + 0.1)


def peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def run(folder: Path) -> Iterator[Row]:
    folder.mkdir(parents=True)
    place = small.make(folder / "runs")
    opened, canary = Run(place), Canary(folder / "outside", STEP)
    box, inbox = opened.mailbox(STEP), place / STEP / "inbox"
    opened.want_rounds(len(ROUNDS))
    log = (folder / "log").open("w+b")
    agent = subprocess.Popen(small.agent(place, STEP, "--watch"), cwd=small.ROOT, stdout=log, stderr=log)
    try:
        wait(lambda: box.answered("r1"))
        before = peak_bytes(agent.pid)
        bad = fill(inbox, canary)
        canary.seal()
        slowly(inbox, "r2")
        box.put("r3", {**request("r3"), "step": STEP, "round": 3})
        wait(lambda: box.listing().dead >= bad and box.answered("r2") and box.answered("r3"))
        look, grew = box.listing(), peak_bytes(agent.pid) - before
        missing = sorted(bad - look.dead) + [id for id in ROUNDS if not box.answered(id)]
        broken = f"neither answered nor dead: {', '.join(missing)}" if missing else canary.harm(place)
        if grew >= MEMORY:
            broken = f"it grew by {grew >> 20} MB"
        agent.send_signal(signal.SIGTERM)
        code = agent.wait(PATIENCE_S)
    finally:
        agent.kill()
        agent.wait()
        opened.close()
    log.seek(0)
    said = log.read().decode("utf-8", "replace").splitlines()[-1:] if code else []
    yield Row(
        "an agent whose inbox is full of bad input answers what is good, and lives until it is told to stop",
        f"{len(bad)} bad requests and {len(NAMES)} bad names at once, one good request in pieces, one beside it; "
        f"{len(look.dead)} letters; {grew >> 20} MB more memory at the most",
        broken or (f"it ended with exit {code}: {' '.join(said)}" if code else ""),
    )


def wait(condition) -> None:
    """Until it is so, or for as long as one may wait; whoever asked looks again."""
    end = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
