"""What may stand in the place of a whole run's own files: run.json, goal.md, a mailbox, the folder of stale replies."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from agents._run import create_run, sweep
from bus import files
from bus.claim import Claim
from bus.run import Run
from tests.crash.canary import FACTS, Canary
from tests.crash.input_places import REFUSED, Plant, put_there, some, tried

FLOW = {
    "10-first": {"command": ["true"], "reads": ["goal.md"], "writes": {"a.txt": "text"}},
    "20-second": {
        "command": ["true"],
        "reads": ["10-first/a.txt", "before/20-second/a.txt"],
        "writes": {"a.txt": "text"},
        "tries": 2,
        "minutes": 5,
        "settings": {"a": [1]},
    },
}
PLACES = (
    "run.json goal.md ROUNDS HOLD supervisor echo 10-first 10-first/inbox 10-first/work 10-first/outbox 10-first/dead "
    "10-first/stale 10-first/stale/r1-1 10-first/outbox/r1 10-first/outbox/r1/reply.json 10-first/outbox/r1/a.txt "
    "20-second/inbox/r1.json 20-second/dead/r1.json"
).split()


def answer(claim: Claim, goal: str) -> None:
    """What the agent of 10-first does."""
    (claim.begin() / "out" / "a.txt").write_text(goal)
    claim.commit_folder({**FACTS, "read": {"goal.md": files.sha256(goal.encode())}})


def begun(folder: Path) -> Path:
    """A run whose first step has replied, and whose goal was changed since: that reply is stale."""
    run = create_run(folder / "small", "a goal\n", 1, FLOW, {"echo": {"agent": "echo"}}, "1")
    run.advance()
    for claim in run.mailbox("10-first").claims():
        answer(claim, "a goal\n")
    run.advance()
    run.close()
    (run.folder / "goal.md").write_text("another goal\n")
    return run.folder


def look(run: Run) -> None:
    """Everything that is asked of a run; the answers may be refusals, and nothing else."""
    calls = (lambda: run.rounds, run.done, run.listings, run.advance, run.advance, lambda: sweep(run))
    for call in (*calls, lambda: run.reply("10-first", 1), lambda: run.set_aside("10-first", "r1"), run.advance):
        with contextlib.suppress(*REFUSED):
            call()


def broken(whole: Path, folder: Path, place: str, plant: Plant) -> str:
    canary, path = Canary(folder / "outside", "10-first"), folder / "run"
    shutil.copytree(whole, path)
    put_there(path / place, plant, canary.folder)
    try:
        run = Run(path)
    except REFUSED as error:
        return "" if str(path) in str(error) else f"opening says {error}, which does not name {path}"
    look(run)
    run.close()
    return canary.harm(path)


def in_runs(folder: Path, pick: Callable[[], dict[str, Plant]]) -> dict[str, Any]:
    """`pick()` things in every place of a run."""
    found, whole, count = [], begun(folder), 0
    for place in PLACES:
        for what, plant in pick().items():
            count += 1
            found += tried(f"{what} as {place} of a run", partial(broken, whole, folder / str(count), place, plant))
    return {"broken": some(found), "count": count}
