"""A run that is killed, and starved of disk, at every system call: made, advanced, a reply set aside, rounds wanted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from agents._run import create_run, sweep, tidy
from bus import files, flow
from bus.run import Run
from tests.crash import trace_check
from tests.crash.trace import Act, Note
from tests.crash.trace_subject import Subject

GOAL, OTHER_GOAL = "---\ngoal: one\n---\n", "---\ngoal: another\n---\n"
FLOW = {
    "10-list": {"agent": "a", "reads": ["goal.md"], "writes": {"x.txt": "text"}},
    "20-sum": {"agent": "b", "reads": ["10-list/x.txt"], "writes": {"x.txt": "text"}},
    "30-tell": {"agent": "c", "reads": ["goal.md"], "writes": {"x.txt": "text"}},
}
SERVICES = {"echo": {"agent": "d"}}
ROUNDS = ("1\n", "2\n")
ENOUGH = 8  # looks at the run after which its two rounds of three steps, one of them stale, must be done
MADE, STALE = "made", "stale"  # notes: the run was made; 10-list had replied, and then the goal was changed


class RunScene:
    """The folder of all runs as one job sees it, in a process of its own."""

    def __init__(self, folder: Path, note: Note) -> None:
        self.folder, self.note = folder / "runs" / "small", note
        self.run: Run | None = None
        self.claim = None

    def close(self) -> None:
        if self.run:
            self.run.close()

    def create(self) -> Run:
        self.run = create_run(self.folder, GOAL, 1, FLOW, SERVICES, "1")
        self.note(MADE)
        return self.run

    def changed(self) -> Run:
        """10-list has replied and 20-sum is asked; then the goal is changed, and the request of 30-tell is lost."""
        run = self.create()
        run.advance()
        work(run, "10-list")
        run.advance()
        files.replace(self.folder / "goal.md", OTHER_GOAL.encode())
        (self.folder / "30-tell/inbox/r1.json").unlink()
        self.note(STALE)
        return run


def work(run: Run, name: str) -> None:
    """Do all requests of one step: its artifact names what it read."""
    step = run.step(name)
    for claim in run.mailbox(name).claims():
        read = {one: files.sha256_file(_source(run, one, claim.id)) for one in step.reads}
        (claim.begin() / "out/x.txt").write_text(text(name, read))
        claim.commit_folder({"read": read, "seconds": 1.0, "usd": 0.0, "gpu_s": 0.0, "cpu_s": 1.0})


def text(name: str, read: dict[str, str]) -> str:
    return f"{name} of {read}\n"


def _source(run: Run, name: str, id: str) -> Path:
    step = flow.source(name)
    return run.folder / step / "outbox" / id / name.partition("/")[2] if step else run.folder / name


def recover(folder: Path) -> None:
    """Make the run if it is not there, then do all that is due, as its supervisor and its agents would."""
    place = folder / "runs" / "small"
    run = Run(place) if place.exists() else create_run(place, GOAL, 1, FLOW, SERVICES, "1")
    with closing(run):
        for name in FLOW:
            tidy(run.mailbox(name))
        for _ in range(ENOUGH):
            run.advance()
            for name in FLOW:
                work(run, name)


# -- the jobs -----------------------------------------------------------------------------------------------


def _create(scene: RunScene) -> Act:
    return scene.create


def _open(scene: RunScene) -> Act:
    """The first mailboxes of a run are opened, where the copy that it came by had no empty folders."""
    run = scene.create()
    for part in ("10-list/work", "10-list/outbox", "20-sum/inbox"):
        (scene.folder / part).rmdir()
    return lambda: [run.mailbox(name) for name in FLOW]


def _advance(scene: RunScene) -> Act:
    run = scene.create()
    return run.advance


def _advance_changed(scene: RunScene) -> Act:
    run = scene.changed()
    return run.advance


def _set_aside(scene: RunScene) -> Act:
    run = scene.changed()
    return lambda: run.set_aside("10-list", "r1")


def _want_rounds(scene: RunScene) -> Act:
    run = scene.create()
    return lambda: run.want_rounds(2)


def _sweep(scene: RunScene) -> Act:
    run = scene.create()
    run.advance()
    for part in ("inbox", "outbox", "dead"):
        (scene.folder / "10-list" / part / f"{files.DRAFT}1-a").write_text("{")
    return lambda: sweep(run)


JOBS: dict[str, Callable[[RunScene], Act]] = {
    "create_run": _create,
    "Run.mailbox": _open,
    "Run.advance": _advance,
    "Run.advance after a change": _advance_changed,
    "Run.set_aside": _set_aside,
    "Run.want_rounds": _want_rounds,
    "sweep": _sweep,
}


# -- how to judge -------------------------------------------------------------------------------------------


def look(folder: Path, name: str, notes: frozenset[str]) -> str:
    """What is wrong with the folder of runs right after a death; "" if nothing."""
    runs = folder / "runs"
    found = trace_check.visible(runs) if runs.exists() else []
    if [path.name for path in found] not in (["small"], [] if MADE not in notes else ["small"]):
        return f"runs/ holds {[path.name for path in found]}"
    if not found:
        return ""
    with closing(Run(runs / "small")) as run:
        if (run.folder / "goal.md").read_text() not in (GOAL, OTHER_GOAL):
            return "goal.md is torn"
        if (run.folder / "ROUNDS").read_text() not in ROUNDS:
            return "ROUNDS is torn"
        why = next((why for step in FLOW if (why := _torn(run, step))), "")
        gone = STALE in notes and not _replies(run, "10-list")
        return why or ("the first reply of 10-list is gone" if gone else "")


def _replies(run: Run, step: str) -> list[Path]:
    """The replies of a step, with those that were set aside."""
    parents = [run.folder / step / part for part in ("outbox", "stale")]
    return [path for parent in parents if parent.exists() for path in trace_check.visible(parent)]


def _torn(run: Run, name: str) -> str:
    box = run.mailbox(name)
    for path in trace_check.visible(box.folder / "inbox"):
        if path.read_bytes() != files.canonical(flow.request(run.step(name), int(path.stem[1:]))):
            return f"{name}/inbox/{path.name} is torn"
        if (state := box.state(path.stem)) not in ("waiting", "failed", "done"):
            return f"{name}: {path.stem} is {state}"
    for path in _replies(run, name):
        if not (path / "reply.json").exists():
            return f"{path.relative_to(run.folder)} is no whole reply"
        document, made = files.read_json(path / "reply.json"), (path / "x.txt").read_text()
        told = {one: facts["sha256"] for one, facts in document["artifacts"].items()}
        if told != {"x.txt": files.sha256(made.encode())} or made != text(name, document["read"]):
            return f"{path.relative_to(run.folder)} is torn"
    return ""


def finish(folder: Path, name: str, notes: frozenset[str]) -> str:
    """Let all be done by fresh processes; what is then not as it should be."""
    before = trace_check.replies(folder)
    recover(folder)
    if why := trace_check.changed(before, trace_check.replies(folder)) or look(folder, name, frozenset({MADE})):
        return f"after recovery, {why}"
    with closing(Run(folder / "runs" / "small")) as run:
        replied, asked = run.listings()
        rounds = run.rounds
        if len(replied) != len(FLOW) * rounds:
            return f"after recovery, replies are missing: {sorted(replied)}"
        if flow.stale(replied, {"goal.md": files.sha256_file(run.folder / "goal.md")}):
            return "after recovery, a reply is stale"
        if asked:
            return f"after recovery, {sorted(asked)} are still asked"
        kept = len(_replies(run, "10-list")) - rounds
        if kept != (STALE in notes):
            return f"after recovery, {kept} replies of 10-list are set aside"
        if left := [path for step in FLOW for path in (run.folder / step / "work").iterdir()]:
            return f"after recovery, {left[0].relative_to(run.folder)} is left"
        sweep(run)
        hidden = [path for path in run.folder.rglob(".*") if path.parent != run.folder]
        return f"after the sweep, {hidden[0].relative_to(run.folder)} is left" if hidden else ""


def subject() -> Subject:
    """A run of three steps."""
    return Subject("run", JOBS, RunScene, lambda folder: lambda: recover(folder), look, finish)
