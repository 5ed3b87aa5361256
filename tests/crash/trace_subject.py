"""Whatever can be killed, or starved of disk, at every system call: a kind of mailbox, or a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.crash import trace_check
from tests.crash.trace import Act, Job, Note, Refuse, nothing
from tests.crash.trace_jobs import JOBS, MAY_DIE, Kind, Scene, jobs_of, recover, request

Judge = Callable[[Path, str, frozenset[str]], str]  # folder, the job's name, what was noted: what is wrong, or ""


@dataclass(frozen=True)
class Subject:
    """Its jobs, each to be run in a folder of its own, and how to judge what is left there."""

    label: str
    jobs: Mapping[str, Callable[[Any], Act]]
    scene: Callable[[Path, Note], Any]  # what a job is given
    recover: Callable[[Path], Act]  # open what is in a folder; returns what a fresh worker then does
    look: Judge  # at once
    finish: Judge  # let a fresh worker finish all
    refuse: Refuse = nothing

    def rehearse(self, folder: Path, name: str) -> None:
        """Do a job once in this process, so that all it needs is loaded."""
        with closing(self.scene(folder, lambda value: None)) as scene:
            self.jobs[name](scene)()

    def job(self, folder: Path, name: str) -> Job:
        return lambda note: self.jobs[name](self.scene(folder, note))

    def recovery(self, folder: Path) -> Job:
        return lambda note: self.recover(folder)


def of_kind(kind: Kind) -> Subject:
    """A kind of mailbox."""

    def look(folder: Path, name: str, acknowledged: frozenset[str]) -> str:
        owed = acknowledged - {"r1"} if name == "withdraw" else acknowledged
        return trace_check.torn(kind, folder) or trace_check.lost(kind, folder, owed, name in MAY_DIE)

    def finish(folder: Path, name: str, acknowledged: frozenset[str]) -> str:
        if name == "withdraw":  # its tries stay: it must be possible to ask for it again
            with closing(kind.open(folder)) as box:
                box.put("r1", request(kind, "r1"))
        return trace_check.finish(kind, folder, acknowledged, name in MAY_DIE)

    def recovery(folder: Path) -> Act:
        box = kind.open(folder)
        return lambda: recover(box)

    jobs = {name: JOBS[name] for name in jobs_of(kind)}
    return Subject(str(kind), jobs, lambda folder, note: Scene(kind, folder, note), recovery, look, finish, kind.refuse)
