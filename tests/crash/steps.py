"""Killed dead before and after every system call that touches a file, and again while it recovers.

python -m tests.crash.steps --list      every job's calls, in order: the points at which it is killed
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from bus.tries import DEATHS
from tests.crash import trace, trace_check, trace_poison, trace_run
from tests.crash.row import Row
from tests.crash.trace import Call
from tests.crash.trace_calls import changes
from tests.crash.trace_jobs import Kind
from tests.crash.trace_subject import Subject, of_kind

STEPS = [Kind(True, True), Kind(True, False), Kind(True, True, plain=True)]
SERVICES = [Kind(False, True), Kind(False, False), Kind(False, True, plain=True)]
SECOND = 2000  # deaths during recovery: about a minute; another seed takes others
QUICK_STOPS, QUICK_LEFT, QUICK_SECOND = 3, 8, 24  # of each job, of all that deaths left, of their recoveries
PLACES = 8  # one in so many stops of the work is tried as the place of a poison request: five deaths take a moment
BATCH = 6  # places that one request which gets on is killed at: reading its tries takes longer with each
SAFE = "killed at any system call: what was acknowledged is in one state, replies are whole and stay, a worker goes on"


@dataclass(frozen=True)
class Left:
    """What a first death left, kept for the second ones."""

    subject: Subject
    name: str
    acknowledged: frozenset[str]
    folder: Path


class Deaths:
    """Kills jobs and judges what each death leaves. A folder that was seen before is not finished again."""

    def __init__(self, root: Path, chance: random.Random, quick: bool) -> None:
        self.root, self.chance, self.quick, self.folders = root, chance, quick, 0
        self.calls: dict[tuple[str, str], list[Call]] = {}  # (subject, job): its calls on files
        self.deaths: Counter[str] = Counter()
        self.again, self.points = 0, 0
        self.verdicts: dict[tuple[str, str, frozenset[str], str], str] = {}
        self.left: list[Left] = []
        self.broken: dict[str, list[str]] = {}

    def fresh(self) -> Path:
        self.folders += 1
        folder = self.root / str(self.folders)
        folder.mkdir()
        return folder

    def list(self, subject: Subject, name: str) -> list[Call]:
        """The calls of a job that is not killed; one that is not traced goes first, so that all is loaded."""
        subject.rehearse(self.fresh(), name)
        ended = trace.calls(subject.job(self.fresh(), name), subject.refuse)
        if ended.error:
            raise AssertionError(f"{name} ({subject.label}), not killed: {ended.error}")
        self.calls[subject.label, name] = ended.counted
        return ended.counted

    def first(self, subject: Subject, name: str) -> None:
        """Kill a job at every stop (in the short form at some)."""
        calls = self.list(subject, name)
        stops: list[int] = list(range(2 * len(calls)))
        for stop in sorted(self.chance.sample(stops, min(QUICK_STOPS, len(stops)))) if self.quick else stops:
            folder = self.fresh()
            ended = trace.kill_at(subject.job(folder, name), stop, subject.refuse)
            if ended is None or ended.at is None or ended.at.name != calls[stop // 2].name:
                raise AssertionError(f"{name} ({subject.label}): call {stop // 2} is another one each time")
            self.deaths[subject.label] += 1
            side = "after" if stop % 2 else "before"
            what = f"{name} ({subject.label}) killed {side} call {stop // 2}, {_short(ended.at, folder)}"
            if why := self.judge(Left(subject, name, frozenset(ended.notes), folder), keep=True):
                self.broken.setdefault(subject.label, []).append(f"{what}: {why}")

    def judge(self, left: Left, keep: bool = False) -> str:
        """What is wrong with what a death left, or ""; the folder is then gone."""
        subject, name, acknowledged, folder = left.subject, left.name, left.acknowledged, left.folder
        why = subject.look(folder, name, acknowledged)
        key = (subject.label, name, acknowledged, trace_check.mark(folder))
        if not why and key not in self.verdicts:
            if keep:
                copied = trace_check.copy(folder, self.root / f"left-{self.folders}")
                self.left.append(Left(subject, name, acknowledged, copied))
            self.verdicts[key] = subject.finish(folder, name, acknowledged)
        rmtree(folder)
        return why or self.verdicts[key]

    def second(self) -> None:
        """Kill the recovery from each folder that a first death left, before and after its calls that change a file.

        Every other stop of it leaves a folder that one of these leaves too.
        """
        pairs = []
        for left in self.chance.sample(self.left, min(QUICK_LEFT, len(self.left))) if self.quick else self.left:
            again = left.subject.recovery(trace_check.copy(left.folder, self.fresh() / "copy"))
            ended = trace.calls(again, left.subject.refuse)
            assert not ended.error, ended.error
            numbers = [call.number or 0 for call in ended.counted if changes(call.name, call.arguments)]
            pairs += [(left, 2 * number + side) for number in numbers for side in (0, 1)]
        self.points = len(pairs)
        for left, stop in self.chance.sample(pairs, min(QUICK_SECOND if self.quick else SECOND, len(pairs))):
            folder = trace_check.copy(left.folder, self.fresh() / "copy")
            before = trace_check.replies(folder)
            killed = trace.kill_at(left.subject.recovery(folder), stop, left.subject.refuse)
            assert killed is not None and killed.at is not None, "the recovery is another one each time"
            what = f"{left.name} ({left.subject.label}) killed, then its recovery at {_short(killed.at, folder)}"
            why = trace_check.changed(before, trace_check.replies(folder))
            if why := why or self.judge(Left(left.subject, left.name, left.acknowledged, folder)):
                self.broken.setdefault("again", []).append(f"{what}: {why}")
            self.again += 1


def _short(call: Call, folder: Path) -> str:
    return str(call).replace(f"{folder}/", "")


def run(folder: Path, seed: int, quick: bool) -> Iterator[Row]:
    if why := trace.why_not():
        yield Row(SAFE, f"not tried: {why}")
        return
    chance = random.Random(seed)
    with trace_check.in_memory(folder) as memory:
        deaths = Deaths(memory, chance, quick)
        for kinds in (STEPS, SERVICES):
            yield first(deaths, [of_kind(kind) for kind in ([chance.choice(kinds)] if quick else kinds)])
        yield first(deaths, [trace_run.subject()])
        deaths.second()
        tried = (
            f"{deaths.again:,} second deaths, of {deaths.points:,}: before and after calls of the recovery that change"
        )
        tried += f" a file, from {len(deaths.left):,} different folders that the first deaths left"
        yield _row("killed again while it recovers: the same", tried, deaths.broken.get("again", []))
        yield from tries_rows(deaths)
    if not quick:
        row = first(Deaths(folder, chance, quick=True), [of_kind(STEPS[0]), of_kind(SERVICES[0]), trace_run.subject()])
        yield Row(row.promise, f"all that above was in memory; this on the disk of TMPDIR: {row.tried}", row.broken)
    counts = Counter(call.name for calls in deaths.calls.values() for call in calls)
    tried = ", ".join(f"{name} {count:,}" for name, count in counts.most_common())
    yield Row("every call is a point to be killed at: python -m tests.crash.steps --list", tried)


def first(deaths: Deaths, subjects: list[Subject]) -> Row:
    """Kill every job of some subjects; one row for all of them."""
    before, left = deaths.deaths.total(), len(deaths.left)
    for subject in subjects:
        for name in subject.jobs:
            deaths.first(subject, name)
    counts = [f"{name} {len(deaths.calls[subjects[0].label, name])}" for name in subjects[0].jobs]
    some = f", at {QUICK_STOPS} stops each" if deaths.quick else ", each before and after"
    tried = f"{'; '.join(subject.label for subject in subjects)}: calls of {', '.join(counts)}{some}: "
    tried += f"{deaths.deaths.total() - before:,} deaths, which left {len(deaths.left) - left} different folders"
    return _row(SAFE, tried, [line for subject in subjects for line in deaths.broken.get(subject.label, [])])


def tries_rows(deaths: Deaths) -> Iterator[Row]:
    """Which deaths count against a request, and which do not."""
    kinds, counts, broken = [Kind(True, False), Kind(False, False)], [], []
    for kind in kinds:
        stops = len(trace_poison.Victim(kind, deaths.fresh).working())
        places = [deaths.chance.randrange(stops)] if deaths.quick else range(0, stops, PLACES if kind.folders else 1)
        broken += [why for place in places if (why := trace_poison.poisoned(kind, deaths.fresh, place))]
        counts.append(f"{kind}: {len(places)} of {stops} stops of its work")
    tried = f"{'; '.join(counts)}; keeping nothing, and killed at the same place each time"
    yield _row(f"a request that kills its worker is dead after {DEATHS} deaths, and can be brought back", tried, broken)

    found = [trace_poison.while_claiming(kind, deaths.fresh) for kind in kinds]
    stops = len(trace_poison.Victim(kinds[0], deaths.fresh, keep=True).working())
    places = range(0, stops, stops // 4 if deaths.quick else PLACES // 2)
    for at in range(0, len(places), BATCH):
        found.append(trace_poison.getting_on(kinds[0], deaths.fresh, places[at : at + BATCH]))
    claiming, working = found[0][0] + found[1][0], sum(count for count, _ in found[2:])
    tried = (
        f"{claiming} deaths while it claims; {working} at {len(places)} of {stops} stops of its work, each second one"
    )
    tried += " after it had kept something new"
    yield _row("killing uses up no tries while a request gets on", tried, [why for _, why in found if why])


def _row(promise: str, tried: str, broken: list[str]) -> Row:
    more = f" (and {len(broken) - 1:,} more)" if len(broken) > 1 else ""
    return Row(promise, tried, broken[0] + more if broken else "")


def show() -> None:
    """Print every job's calls, in order."""
    with tempfile.TemporaryDirectory(prefix="crash-list-") as folder:
        deaths = Deaths(Path(folder), random.Random(1), quick=True)
        for subject in [of_kind(STEPS[0]), of_kind(SERVICES[0]), trace_run.subject()]:
            for name in subject.jobs:
                print(f"\n{name} ({subject.label})")
                for call in deaths.list(subject, name):
                    print(f"  {call.number:3} {_short(call, Path(folder) / str(deaths.folders))}")


if __name__ == "__main__":
    if sys.argv[1:] != ["--list"]:
        raise SystemExit("usage: python -m tests.crash.steps --list   (to kill them: python -m tests.crash steps)")
    show()
