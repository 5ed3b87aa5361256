"""A bad disk: at every system call that touches a file, it is full, over quota, broken, read-only, or writes half.

Then a real small disk that fills up, in bytes and in names, and one that is mounted read-only meanwhile.
"""

from __future__ import annotations

import errno
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from tests.crash import trace, trace_check, trace_run, trace_small
from tests.crash.row import Row
from tests.crash.trace import Call, Ended, Job, Refuse
from tests.crash.trace_calls import FLAGS, SYNCS, WRITES, changes
from tests.crash.trace_disk import ENDS, trial
from tests.crash.trace_jobs import Kind
from tests.crash.trace_subject import Subject, of_kind

PROMISE = "a disk error reaches the caller, leaves nothing half visible, open or locked, and the same call then works"
FULL = (errno.ENOSPC, errno.EDQUOT)
# Where a disk is full, a claim, and a dead letter for which there is no room, are put off without an error.
PUTS_OFF = ("claim", "claim after a death", "clean-up", "withdraw", "bury", "give_up", "fail for the last time")
QUICK_FAULTS, PLAIN_FAULTS = 5, 40  # of each job, in the short form and on a plain file system
_DUP = 1030  # F_DUPFD_CLOEXEC
_GROWS = frozenset("write pwrite64 mkdir mkdirat linkat".split())  # what needs room, beside opening a new file
_RANDOM = re.compile(r"(?<=/#)\d+ \(deleted\)|(?<=/\.new-small-)\w+|(?<=/\.draft-)[\w-]+")


@dataclass(frozen=True)
class Fault:
    """One call of a job, and what becomes of it: an error, or (`count`) a write of so many bytes.

    `stays`: all that changes the disk (where it is full: all that needs room) fails from that call on, until an agent
    would have ended the request.
    """

    number: int
    code: int = 0
    count: int = 0
    stays: bool = False

    def __str__(self) -> str:
        code = "a short write" if self.count else errno.errorcode[self.code]
        return f"{code} from then on" if self.stays else code

    def hits(self, call: Call) -> bool:
        if self.stays and (call.number or 0) > self.number and changes(call.name, call.arguments):
            return self.code not in FULL or call.name in FLAGS or call.name in _GROWS
        return call.number == self.number

    def strike(self, job: Job, refuse: Refuse) -> Ended:
        if self.count:
            return trace.short_at(job, self.number, self.count, refuse)
        ended = trace.calls(job, lambda call: self.code if self.hits(call) else refuse(call))
        ended.at = ended.counted[self.number]
        return ended


def faults(calls: list[Call]) -> list[Fault]:
    """All that may happen to these calls."""
    found = []
    for call in calls:
        number = call.number or 0
        found += [Fault(number, errno.ENOSPC), Fault(number, errno.EIO)]
        if changes(call.name, call.arguments):
            found += [Fault(number, errno.EDQUOT), Fault(number, errno.EROFS)]
            found += [Fault(number, code, stays=True) for code in (errno.ENOSPC, errno.EROFS)]
        if call.name in FLAGS or (call.name == "fcntl" and call.arguments[1] == _DUP):
            found.append(Fault(number, errno.EMFILE))
        if call.name in WRITES:
            found += [Fault(number, count=count) for count in {1, len(call.data) // 2} if 0 < count < len(call.data)]
    return found


class Faults:
    """Breaks the disk under jobs, one call at a time, and judges what comes of it."""

    def __init__(self, root: Path, chance: random.Random) -> None:
        self.root, self.chance, self.folders = root, chance, 0
        self.tried: Counter[str] = Counter()
        self.calls: dict[str, int] = {}
        self.told = 0
        self.broken: list[str] = []

    def fresh(self) -> Path:
        self.folders += 1
        folder = self.root / str(self.folders)
        folder.mkdir()
        return folder

    def all(self, subject: Subject, name: str, most: int = 0) -> None:
        """Try every fault of one job, or `most` of them."""
        subject.rehearse(self.fresh(), name)
        well = trace.calls(trial(subject, folder := self.fresh(), name), subject.refuse)
        needed = synced(well, folder)
        if why := judge(subject, name, folder, well, set(), Fault(-1)):
            raise AssertionError(f"{name} ({subject.label}) on a good disk: {why}")
        self.calls[name], found = len(well.counted), faults(well.counted)
        for fault in self.chance.sample(found, min(most or len(found), len(found))):
            ended = fault.strike(trial(subject, folder := self.fresh(), name), subject.refuse)
            self.tried[str(fault)] += 1
            self.told += not ended.error and bool(ended.notes[-1]["errno"])
            if why := judge(subject, name, folder, ended, needed, fault):
                what = str(ended.at).partition(" = ")[0].replace(f"{folder}/", "")
                self.broken.append(f"{name} ({subject.label}), call {fault.number} {what}: {fault}: {why}")
            rmtree(folder)


def judge(subject: Subject, name: str, folder: Path, ended: Ended, needed: set[str], fault: Fault) -> str:
    """What is wrong with the end of a job on a bad disk; "" if nothing. `needed` is what success has synced."""
    if ended.error:
        return ended.error.strip().splitlines()[-1]
    *noted, report = ended.notes
    notes, got, text = frozenset(noted), report["errno"], report["text"]
    if got and (got != fault.code or os.strerror(got) not in text) and not _closed_twice(ended, got):
        return f"the caller gets: {text}"
    if got and fault.code in FULL and name not in ENDS and report["bad tries"] > 0:
        return "a full disk counts as a failed try"
    if not got and not _hides(name, ended, fault):
        if not report["done"]:
            return "success, but it is not done"
        if missing := needed - synced(ended, folder):
            return f"success, but {min(missing)} is not synced"
    return report["wrong"] or subject.look(folder, name, notes) or subject.finish(folder, name, notes)


def _hides(name: str, ended: Ended, fault: Fault) -> bool:
    """True where success may mean less: it is put off, or the call was `os.access`, which tells no errors."""
    unseen = ended.at is not None and ended.at.name.startswith("faccessat")
    return unseen or (name in PUTS_OFF and fault.code in FULL)


def _closed_twice(ended: Ended, got: int) -> bool:
    """`shutil.rmtree` closes a folder again whose first closing failed."""
    return got == errno.EBADF and ended.at is not None and ended.at.name == "close"


def synced(ended: Ended, folder: Path) -> set[str]:
    """What a job synced, by its place in the job's folder."""
    found = [call for call in ended.counted if call.name in SYNCS and call.result == 0]
    return {_RANDOM.sub("", path).replace(str(folder), "") for call in found for path in call.paths}


def run(folder: Path, seed: int, quick: bool) -> Iterator[Row]:
    chance = random.Random(seed)
    if why := trace.why_not():
        yield Row(PROMISE, f"not tried: {why}")
    else:
        with trace_check.in_memory(folder) as memory:
            for subject in (of_kind(Kind(True, True)), of_kind(Kind(False, True)), trace_run.subject()):
                yield injected(memory, chance, subject, QUICK_FAULTS if quick else 0)
            for kind in (Kind(True, True, plain=True), Kind(False, True, plain=True))[: 1 if quick else 2]:
                yield injected(memory, chance, of_kind(kind), 1 if quick else PLAIN_FAULTS)
    yield from trace_small.rows(folder / "small", seed, quick)


def injected(folder: Path, chance: random.Random, subject: Subject, most: int) -> Row:
    """Break the disk under every job of a subject."""
    root = folder / subject.label.replace(" ", "-")
    root.mkdir()
    found = Faults(root, chance)
    for name in subject.jobs:
        found.all(subject, name, most)
    kinds = ", ".join(f"{name} {count:,}" for name, count in found.tried.most_common())
    some = f", at most {most} faults each" if most else ", each call"
    tried = f"{subject.label}: calls of {', '.join(f'{name} {count}' for name, count in found.calls.items())}{some}: "
    tried += f"{found.tried.total():,} faults ({kinds}), {found.told:,} told as an OSError, the others got over"
    more = f" (and {len(found.broken) - 1:,} more)" if len(found.broken) > 1 else ""
    return Row(PROMISE, tried, found.broken[0] + more if found.broken else "")
