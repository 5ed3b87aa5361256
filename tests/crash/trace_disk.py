"""One job on a bad disk: do it, end it as an agent would, see what it left open or locked, and do it again."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from bus import files, tries
from bus.claim import Claim
from tests.crash.trace import Act, Job, Note
from tests.crash.trace_jobs import ERROR, Scene, begin, commit
from tests.crash.trace_subject import Subject

# How a job that ends, or goes on with, a claim is done again once the disk is well: on a claim of its own.
AGAIN: dict[str, Callable[[Claim], object]] = {
    "begin": lambda claim: claim.begin(),
    "work": begin,
    "commit": lambda claim: commit(begin(claim)),
    "fail": lambda claim: begin(claim).fail(ERROR),
    "fail for the last time": lambda claim: begin(claim).fail(ERROR),
    "give_up": lambda claim: begin(claim).give_up("refused", "it is not to be done"),
    "release": lambda claim: claim.release(),
}
# What a job has done when it returns.
EFFECTS: dict[str, Callable[[Any], object]] = {
    "put": lambda scene: scene.box.state("r1") == "waiting",
    "put again": lambda scene: scene.box.state("r1") == "waiting",
    "put what is answered": lambda scene: scene.box.state("r1") == "done",
    "put_many": lambda scene: {scene.box.state(id) for id in ("r1", "r2", "r3")} == {"waiting"},
    "claim": lambda scene: _held(scene),
    "claim after a death": lambda scene: _held(scene),
    "begin": lambda scene: (scene.claim.folder / "out").is_dir(),
    "work": lambda scene: (scene.claim.folder / "out/more/short.txt").exists(),
    "commit": lambda scene: scene.box.state("r1") == "done",
    "fail": lambda scene: scene.box.state("r1") == "failed",
    "fail for the last time": lambda scene: scene.box.state("r1") == "dead",
    "give_up": lambda scene: scene.box.state("r1") == "dead",
    "bury": lambda scene: scene.box.state("r1") == "dead",
    "release": lambda scene: scene.box.state("r1") != "running",
    "revive": lambda scene: scene.box.state("r1") == "waiting",
    "withdraw": lambda scene: scene.box.state("r1") is None,
    "clean-up": lambda scene: not scene.box.listing().requests,
    "tidy": lambda scene: scene.box.state("r1") == "done",  # what it cannot remove, it removes another time
    "create_run": lambda scene: (scene.folder / "run.json").exists(),
    "Run.mailbox": lambda scene: (scene.folder / "20-sum/inbox").is_dir(),
    "Run.advance": lambda scene: all(scene.run.mailbox(name).state("r1") for name in ("10-list", "30-tell")),
    "Run.advance after a change": lambda scene: (scene.folder / "10-list/stale/r1-1/reply.json").exists(),
    "Run.set_aside": lambda scene: (scene.folder / "10-list/stale/r1-1/reply.json").exists(),
    "Run.want_rounds": lambda scene: scene.run.rounds == 2,
    "sweep": lambda scene: not list(scene.folder.glob("10-list/*/.draft-*")),
}
CLAIMS = ("claim", "claim after a death", *AGAIN)
ENDS = ("fail", "fail for the last time", "give_up", "release")  # they end the claim themselves


def _held(scene: Scene) -> bool:
    """On a plain file system the lock is of another kind, which this look, that is not traced, does not see."""
    return scene.claim is not None and (scene.kind.plain or scene.box.state("r1") == "running")


def trial(subject: Subject, folder: Path, name: str) -> Job:
    """The job of a subject; it notes one report: what the caller got, and what was left behind."""

    def prepared(note: Note) -> tuple[Act, Act]:
        before = descriptors()
        scene = subject.scene(folder, note)
        act = subject.jobs[name](scene)
        report: dict[str, Any] = {"bad tries": -bad_tries(scene)}

        def traced() -> None:
            report.update(attempt(scene, name, act))

        def after() -> None:
            report["bad tries"] += bad_tries(scene)
            report["done"] = bool(EFFECTS[name](scene)) if not report["errno"] else None
            report["wrong"] = report["wrong"] or locked(scene)
            report["wrong"] = report["wrong"] or subject.look(folder, name, frozenset())
            report["wrong"] = report["wrong"] or again(scene, name, act)
            scene.close()
            if left := descriptors() - before:
                report["wrong"] = report["wrong"] or f"descriptors stay open: {sorted(left)}"
            note(report)

        return traced, after

    return prepared


def descriptors() -> set[str]:
    """What is open in this process."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
    return found


def bad_tries(scene: Any) -> int:
    """The tries of r1 that count against it."""
    if not isinstance(scene, Scene):
        return 0
    return sum(one.kind not in tries.FREE for one in tries.history(scene.box.work("r1")))


def attempt(scene: Any, name: str, act: Act) -> dict[str, Any]:
    """Do the job, and do with its error what an agent does: record a failed try, or give the request back."""
    try:
        act()
    except OSError as error:
        return {"errno": error.errno or -1, "text": str(error), "wrong": settle(scene, name, error)}
    return {"errno": 0, "text": "", "wrong": ""}


def settle(scene: Any, name: str, error: OSError) -> str:
    """End the claim, if one is held: by a failed try or, where not even that can be recorded, by giving it back."""
    if (claim := scene.claim) is None:
        return ""
    with suppress(OSError):
        if name not in ENDS:
            claim.fail({**ERROR, "kind": "disk" if files.is_full(error) else "error", "message": str(error)})
    scene.box.postpone(claim.id, 30.0)
    try:
        claim.release()
    except OSError as again:
        return f"the claim cannot be given back: {again}"
    return ""


def locked(scene: Any) -> str:
    """What is still locked, though no claim is held any more; "" if nothing."""
    if not isinstance(scene, Scene):
        return ""
    if scene.claim:
        scene.claim.release()
    return "r1 is still locked" if scene.box.state("r1") == "running" else ""


def again(scene: Any, name: str, act: Act) -> str:
    """The same call, once the disk is well; what is then wrong."""
    if not isinstance(scene, Scene):
        if name != "create_run" or not scene.folder.exists():
            act()
        return ""
    if name not in AGAIN:
        if name != "revive" or scene.box.state("r1") == "dead":
            act()
    elif claim := scene.take():
        AGAIN[name](claim)
        claim.release()
    if not scene.claim and (state := scene.box.state("r1")) not in ("done", "dead", None) and name in CLAIMS:
        return f"r1 is {state}, but cannot be claimed again"
    return ""
