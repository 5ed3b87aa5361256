"""The power fails: what was acknowledged is there afterwards, in any state that the disk may be left in.

Each scene runs in a traced child; its system calls become operations on a model of a disk that keeps only what was
fsynced (`disk_model`). After every one of them the power fails, and every state that the disk may be in then is laid
out, opened by fresh code and worked to its end (`power_checks`).
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash import power_checks, trace
from tests.crash.disk_model import Cut, Disk, Many
from tests.crash.disk_operations import Mark, Sync
from tests.crash.disk_record import Recorder, Say
from tests.crash.disk_tree import Tree, lay_out, look
from tests.crash.power_scenes import SCENES, Act, Scene, go_on
from tests.crash.row import Row

MEMORY = Path("/dev/shm")  # states are laid out in memory, where there is some: there are thousands of them
MANY = Many(all=256, alone=1000, drawn=32)
FEW = Many(all=16, alone=24, drawn=4)  # where there are many recordings
QUICK = Many(all=8, alone=8, drawn=2)
KILLS = 2  # of each scene, at moments drawn by chance, beside those before each fsync
TWICE = 4  # states of each scene that are gone on with until the power fails again
PLACES = 8  # recordings in which an fsync is left out before it is said to be needed for nothing
QUICK_SCENES = ("put into a new mailbox", "cp, then put of the same", "a service answers", "a step answers")
PROMISE = "a power cut loses nothing that was acknowledged"


@dataclass
class Trial:
    """One recording, and what became of each state that its disk may be in."""

    scene: Scene
    disk: Disk
    first: int  # the first operation after which the power may fail
    folder: Path  # for the states
    earlier: tuple[str, ...] = ()  # what was promised before the recording began
    cuts: int = 0
    states: int = 0
    broken: bool = False  # even with every sync
    known: dict[int, str] = field(default_factory=dict)  # hash of a state and its promises -> what is broken, or ""

    def losses(self, many: Many, chance: random.Random, ignored: frozenset[int] = frozenset()) -> Iterator[str]:
        """Try the states at every cut, as if the syncs `ignored` had not been; yields each broken promise."""
        told: set[str] = set()
        for cut in self.disk.cuts(self.first, ignored):
            if many != MANY and cut.is_in_the_next():
                continue
            self.cuts += 1
            marks = self.marks(cut)
            for choice in cut.choices(many, chance):
                if (tree := cut.tree(choice)) is None:
                    continue
                self.states += 1
                if why := self._verdict(tree, marks):
                    self.broken = self.broken or not ignored
                    kind = f"{self.scene.name}: {why}"
                    yield kind if kind in told else f"{kind}; {self._how(cut, choice, why)}"
                    told.add(kind)

    def _how(self, cut: Cut, choice: tuple[int, ...], why: str) -> str:
        """The cut, and as little as must be lost there for this to happen."""
        for axis, size in enumerate(cut.sizes):
            less = (*choice[:axis], size - 1, *choice[axis + 1 :])
            if (tree := cut.tree(less)) is not None and self._verdict(tree, self.marks(cut)) == why:
                choice = less
        return f"cut after operation {cut.at}, {self.disk.notes[cut.at]}; lost: {cut.missing(choice)}"

    def marks(self, cut: Cut) -> tuple[str, ...]:
        return self.earlier + self.disk.marks(cut.at)

    def some(self, count: int, chance: random.Random) -> Iterator[tuple[Tree, tuple[str, ...]]]:
        """States at moments drawn by chance, with what was promised."""
        cuts = list(self.disk.cuts(self.first))
        while count:
            cut = chance.choice(cuts)
            if (tree := cut.tree(tuple(map(chance.randrange, cut.sizes)))) is not None:
                count -= 1
                yield tree, self.marks(cut)

    def _verdict(self, tree: Tree, marks: tuple[str, ...]) -> str:
        key = hash((tree, marks))
        if key not in self.known:
            state = self.folder / "state"
            lay_out(tree, state)
            self.known[key] = power_checks.broken(state, self.scene, marks).replace(f"{state}/", "")
            shutil.rmtree(state)
        return self.known[key]


class Power:
    """One run of this part: where it works, what it draws by chance, and its recordings."""

    def __init__(self, folder: Path, seed: int, quick: bool) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        self.scenes = [one for one in SCENES if one.name in QUICK_SCENES or not quick]
        self.many, self.few = (QUICK, QUICK) if quick else (MANY, FEW)
        self.kills, self.twice = (2, 1) if quick else (1000, TWICE)
        self.count = 0
        self.trials: list[Trial] = []  # in which one fsync after another may be left out

    def place(self) -> Path:
        self.count += 1
        place = self.folder / str(self.count)
        place.mkdir()
        return place

    def begin(self, scene: Scene) -> Recorder:
        root = self.place() / "root"
        root.mkdir()
        scene.before(root)
        return Recorder(root)

    def record(
        self, recorder: Recorder, act: Act, durable: bool = True, stop: int | None = None, nameless: bool = True
    ) -> None:
        """Record one program, to its end or to its change number `stop`; the model must agree with the disk."""

        def job(root: Path, say: Say) -> None:
            act(root, say, durable)

        if error := recorder.record(job, stop, trace.nothing if nameless else no_nameless_files).error:
            raise AssertionError(error)
        assert recorder.disk.now() == look(recorder.folder), "the model differs from the disk"

    def stops(self, recorder: Recorder) -> list[int]:
        """Changes to be killed after: the one before an fsync, for each place in the bus, and some more by chance."""
        places: dict[str, int] = {}
        for at, place in recorder.disk.syncs():
            done = recorder.disk.operations[recorder.began + 1 : at]
            places.setdefault(place, sum(not isinstance(one, Sync | Mark) for one in done))
        stops = set(places.values()) - {0}
        others = sorted(set(range(1, recorder.changes + 1)) - stops)
        stops |= set(self.chance.sample(others, min(KILLS, len(others))))
        return sorted(self.chance.sample(sorted(stops), min(self.kills, len(stops))))

    def trial(self, scene: Scene, recorder: Recorder, earlier: tuple[str, ...] = (), keep: bool = True) -> Trial:
        trial = Trial(scene, recorder.disk, recorder.began, self.place(), earlier)
        if keep:
            self.trials.append(trial)
        return trial

    # -- rows ---------------------------------------------------------------------------------------------------

    def each_scene(self) -> Iterator[Row]:
        """Every scene by itself, with nameless drafts and with named ones."""
        for scene in self.scenes:
            scene.act_once(self.place())  # so that nothing is imported or cached under the trace
            trials = []
            for nameless in (True, False) if scene.drafts else (True,):
                self.record(recorder := self.begin(scene), scene.act, nameless=nameless)
                trials.append(self.trial(scene, recorder))
            broken = [loss for trial in trials for loss in trial.losses(self.many, self.chance)]
            yield Row(f"{PROMISE}: {scene.name}", figures(trials), first(broken))

    def after_a_kill(self) -> Iterator[Row]:
        """A process is killed, another goes on, and then the power fails: only what was fsynced may be relied on."""
        trials: list[Trial] = []
        broken: list[str] = []
        for scene in [one for one in self.scenes if one.kills]:
            self.record(recorder := self.begin(scene), scene.act)
            for stop in self.stops(recorder):
                for asks_first in (False,) if scene.of_run else (False, True):
                    self.record(recorder := self.begin(scene), scene.act, stop=stop)
                    self.record(recorder, go_on(scene, asks_first))
                    trials.append(self.trial(scene, recorder))
                    losses = trials[-1].losses(self.few, self.chance)
                    broken += [f"{loss}; after a kill at change {stop}" for loss in losses]
        yield Row(f"{PROMISE}, nor what a killed process left for another", figures(trials), first(broken))

    def twice_cut(self) -> Iterator[Row]:
        """What a power cut left is gone on with, and the power fails again."""
        trials: list[Trial] = []
        broken: list[str] = []
        for before in [one for one in self.trials if not one.earlier]:
            if len(trials) >= self.twice * len(self.scenes):
                break
            for tree, marks in before.some(self.twice, self.chance):
                root = self.place() / "root"
                lay_out(tree, root)
                self.record(recorder := Recorder(root), go_on(before.scene))
                trials.append(self.trial(before.scene, recorder, marks, keep=False))
                broken += trials[-1].losses(self.few, self.chance)
        yield Row(f"{PROMISE}, nor does the next one", figures(trials), first(broken))

    def without_fsync(self) -> Iterator[Row]:
        """The same model must find losses where nothing is fsynced."""
        found, trials, blind = 0, list[Trial](), list[str]()
        for scene in [one for one in self.scenes if not one.of_run]:
            self.record(recorder := self.begin(scene), scene.act, durable=False)
            trials.append(self.trial(scene, recorder, keep=False))
            losses = sum(1 for _ in trials[-1].losses(self.few, self.chance))
            found += losses
            blind += [] if losses else [f"{scene.name}: no loss is found without fsync"]
        yield Row("the check can fail: durable=False loses", f"{figures(trials)}; {found} lose something", first(blind))

    def each_fsync(self) -> Iterator[Row]:
        """Leave out one fsync at a time: which of them is needed for what was promised?"""
        left: dict[str, int] = {}  # how often one of this place was left out for nothing
        needed: dict[str, str] = {}
        tried = 0
        for trial in [one for one in self.trials if not one.broken]:
            for at, place in trial.disk.syncs():
                if place in needed or left.get(place, 0) >= PLACES:
                    continue
                tried += 1
                left[place] = left.get(place, 0) + 1
                if loss := next(trial.losses(self.few, self.chance, frozenset({at})), ""):
                    needed[place] = loss
        unneeded = sorted(left.keys() - needed.keys())
        text = f"{tried} fsyncs at {len(left)} places in the bus; {len(needed)} are needed for a promise"
        if unneeded:
            text += f"; for none of these promises: {'; '.join(unneeded)}"
        yield Row("the check can fail: one fsync left out loses", text, "" if needed else "no fsync is needed")


def no_nameless_files(call: trace.Call) -> int:
    """A file system without O_TMPFILE."""
    nameless = call.name == "openat" and call.arguments[2] & os.O_TMPFILE == os.O_TMPFILE
    return errno.EOPNOTSUPP if nameless else 0


def figures(trials: list[Trial]) -> str:
    cuts, states, different = (
        sum(numbers) for numbers in zip(*((one.cuts, one.states, len(one.known)) for one in trials), strict=True)
    )
    return f"{len(trials)} recordings, {cuts:,} cuts; {states:,} states of the disk, {different:,} different ones tried"


def first(broken: list[str]) -> str:
    """The first loss of each kind, in one line."""
    kinds: dict[str, str] = {}
    for loss in broken:
        kinds.setdefault(loss.partition("; ")[0], loss)
    more = len(broken) - len(kinds)
    return " // ".join(kinds.values()) + (f" (and {more:,} more)" if more else "")


def run(folder: Path, seed: int, quick: bool) -> Iterator[Row]:
    if why := trace.why_not():
        yield Row(PROMISE, f"not tried: {why}")
        return
    where = MEMORY if os.access(MEMORY, os.W_OK) else folder
    with tempfile.TemporaryDirectory(prefix="crash-power-", dir=where) as place:
        power = Power(Path(place), seed, quick)
        yield from power.each_scene()
        yield from power.after_a_kill()
        yield from power.twice_cut()
        yield from power.without_fsync()
        if not quick:
            yield from power.each_fsync()
