"""Histories of a run: answered in any order, replies lost and replaced, advanced at any time; beside its model."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agents._run import create_run
from bus import files
from bus.claim import Claim
from bus.run import Run
from tests.crash.canary import FACTS

Key = tuple[str, int]  # a step and a round
texts = st.sampled_from(("one\n", "two\n"))
which = st.integers(0, 11)  # of the things that there are just now, in order
runs = st.sampled_from((0, 1))
BEFORE = "before/"


@st.composite
def flows(draw: st.DrawFn) -> dict[str, Any]:
    """One to four steps that read the goal, earlier steps of this round, and any step of the last."""
    names = [f"{10 * n}-step" for n in range(1, draw(st.integers(1, 4)) + 1)]
    flow = {}
    for at, name in enumerate(names):
        reads = draw(st.lists(st.sampled_from(names[:at]), max_size=2, unique=True)) if at else []
        before = draw(st.lists(st.sampled_from(names), max_size=1))
        found = [f"{one}/a.txt" for one in reads] + [f"{BEFORE}{one}/a.txt" for one in before]
        goal = ["goal.md"] if draw(st.booleans()) else []
        flow[name] = {"command": ["true"], "reads": goal + found, "writes": {"a.txt": "text"}}
    return flow


def origin(name: str, round: int) -> Key | None:
    """Whose reply a read name means in a round; None for the goal."""
    if name == "goal.md":
        return None
    return name.removeprefix(BEFORE).split("/")[0], round - name.startswith(BEFORE)


class RunModel(RuleBasedStateMachine):
    """Two Run objects on one run, as two agents have; `replied` maps a key to (sha256 of a.txt, what was read)."""

    def __init__(self, folder: Path, counts: dict[str, int]) -> None:
        super().__init__()
        self.folder, self.counts = folder / "run", counts
        self.runs: list[Run] = []
        self.flow: dict[str, Any] = {}
        self.goal, self.rounds, self.held = "a goal\n", 1, False
        self.asked: set[Key] = set()
        self.dead: set[Key] = set()
        self.replied: dict[Key, tuple[str, dict[str, str]]] = {}
        self.working: dict[Key, tuple[Claim, dict[str, str]]] = {}
        counts["histories"] += 1

    @initialize(flow=flows(), rounds=st.integers(1, 3))
    def make(self, flow: dict[str, Any], rounds: int) -> None:
        self.flow, self.rounds = flow, rounds
        self.runs = [create_run(self.folder, self.goal, 1, flow, {}, str(rounds)), Run(self.folder)]

    def teardown(self) -> None:
        try:
            if self.runs:
                self.finish()
        finally:
            for claim, _ in self.working.values():
                claim.close()
            for run in self.runs:
                run.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    # -- the model ------------------------------------------------------------------------------------------

    def needs(self, key: Key) -> set[Key]:
        step, n = key
        found = {origin(name, n) for name in self.flow[step]["reads"]} | {(step, n - 1)}
        return {one for one in found if one and one[1] >= 1}

    def now(self, name: str, round: int) -> str | None:
        """The sha256 that a read name has now; None where its step has not replied."""
        key = origin(name, round)
        if key is None:
            return files.sha256(self.goal.encode())
        return self.replied[key][0] if key in self.replied else None

    def advanced(self) -> tuple[set[Key], set[Key]]:
        """What advance puts and sets aside, and the state after it."""
        if self.held:
            return set(), set()
        stale = {
            key
            for key, (_, read) in self.replied.items()
            if any(self.now(name, key[1]) not in (None, sha256) for name, sha256 in read.items())
        }
        for key in stale:
            del self.replied[key]
        there = self.asked | self.dead
        for key in there - self.replied.keys() - self.working.keys() - self.dead:
            if not self.needs(key) <= self.replied.keys():
                self.asked.discard(key)
        last = min(self.rounds, 1 + max((n for _, n in self.replied), default=0))
        keys = {(step, n) for step in self.flow for n in range(1, last + 1)}
        due = {key for key in keys - self.replied.keys() - there if self.needs(key) <= self.replied.keys()}
        self.asked |= due
        return due, stale

    # -- what may happen ------------------------------------------------------------------------------------

    @rule(run=runs)
    def advance(self, run: int) -> None:
        expected = self.advanced()
        for wanted in (expected, (set(), set())):  # looking twice adds nothing
            progress = self.runs[run].advance()
            found = {(step, int(id[1:])) for step, id in progress.put}, {(s, int(id[1:])) for s, id in progress.stale}
            assert found == wanted, f"advance put and set aside {found}, not {wanted}"

    @rule(run=runs, text=texts, times=st.integers(1, 6))
    def go_on(self, run: int, text: str, times: int) -> None:
        """Some steps of what the agents do anyway: advance, and answer the first that is asked."""
        for _ in range(times):
            self.advance(run)
            if not self.held and (open_ones := self.asked - self.working.keys() - self.dead - self.replied.keys()):
                self.take(run, min(open_ones))
                if (key := min(open_ones)) in self.working:
                    self.answer(key, text)

    def pick(self, keys: set[Key], which: int, act: Callable[[Key], None]) -> None:
        if keys:
            act(sorted(keys)[which % len(keys)])

    @rule(run=runs, which=which)
    def claim(self, run: int, which: int) -> None:
        """An agent takes a request, and reads."""
        if not self.held:
            self.pick(
                self.asked - self.working.keys() - self.dead - self.replied.keys(),
                which,
                lambda key: self.take(run, key),
            )

    def take(self, run: int, key: Key) -> None:
        claim = self.runs[run].mailbox(key[0]).claim(f"r{key[1]}")
        assert claim is not None, f"{key}: cannot be claimed"
        if not self.needs(key) <= self.replied.keys():
            claim.release()  # what it would read was lost
            return
        names = self.flow[key[0]]["reads"]
        self.working[key] = claim, {name: sha for name in names if (sha := self.now(name, key[1])) is not None}

    @rule(which=which, text=texts)
    def commit(self, which: int, text: str) -> None:
        self.pick(set(self.working), which, lambda key: self.answer(key, text))

    def answer(self, key: Key, text: str) -> None:
        claim, read = self.working.pop(key)
        (claim.begin() / "out" / "a.txt").write_text(f"{key} {sorted(read.values())} {text}")
        assert claim.commit_folder({**FACTS, "read": read})
        self.replied[key] = files.sha256_file(self.folder / key[0] / "outbox" / f"r{key[1]}" / "a.txt"), read
        self.asked.discard(key)

    @rule(which=which)
    def die(self, which: int) -> None:
        def act(key: Key) -> None:
            self.working.pop(key)[0].close()

        self.pick(set(self.working), which, act)

    @rule(which=which)
    def lose_reply(self, which: int) -> None:
        def act(key: Key) -> None:
            shutil.rmtree(self.folder / key[0] / "outbox" / f"r{key[1]}")
            del self.replied[key]

        self.pick(set(self.replied), which, act)

    @rule(which=which)
    def lose_request(self, which: int) -> None:
        def act(key: Key) -> None:
            (self.folder / key[0] / "inbox" / f"r{key[1]}.json").unlink()
            self.asked.discard(key)

        self.pick(self.asked - self.working.keys(), which, act)

    @rule(run=runs, which=which, text=texts)
    def replace(self, run: int, which: int, text: str) -> None:
        """A reply is made again by hand, perhaps with other bytes: what read it is stale then."""

        def act(key: Key) -> None:
            shutil.rmtree(self.folder / key[0] / "outbox" / f"r{key[1]}")
            del self.replied[key]
            box = self.runs[run].mailbox(key[0])
            box.put(f"r{key[1]}", {"schema": "request.v1", "id": f"r{key[1]}", "step": key[0], "round": key[1]})
            self.asked.add(key)
            self.take(run, key)
            if key in self.working:
                self.answer(key, text)

        if not self.held:
            self.pick(self.replied.keys() - self.dead - self.working.keys(), which, act)

    @rule(which=which)
    def give_up(self, which: int) -> None:
        def act(key: Key) -> None:
            self.working.pop(key)[0].give_up("refused", "a bad round")
            self.dead.add(key)

        self.pick(set(self.working), which, act)

    @rule(run=runs, which=which)
    def retry(self, run: int, which: int) -> None:
        self.pick(set(self.dead), which, lambda key: self.revive(run, key))

    def revive(self, run: int, key: Key) -> None:
        self.runs[run].mailbox(key[0]).revive(f"r{key[1]}")
        self.dead.discard(key)

    @rule(text=texts)
    def change_goal(self, text: str) -> None:
        self.goal = text
        files.replace(self.folder / "goal.md", text.encode())

    @rule(run=runs, rounds=st.integers(1, 3))
    def want_rounds(self, run: int, rounds: int) -> None:
        self.runs[run].want_rounds(rounds)
        self.rounds = rounds

    @rule(held=st.booleans())
    def hold_or_go_on(self, held: bool) -> None:
        self.held = held
        (self.folder / "HOLD").touch() if held else (self.folder / "HOLD").unlink(missing_ok=True)

    # -- what must be so after each of these, and at the end ------------------------------------------------

    @invariant()
    def is_what_its_model_says(self) -> None:
        self.counts["steps"] += 1
        for run in self.runs:
            replied, asked = run.listings()
            assert set(replied) == set(self.replied), f"replied: {set(replied)}, not {set(self.replied)}"
            assert asked == self.asked | self.dead, f"asked: {asked}, not {self.asked | self.dead}"
            assert run.rounds == self.rounds

    def finish(self) -> None:
        """Whatever was done to it: held no more, its dead brought back, it comes to its end, and all of it is fresh."""
        self.hold_or_go_on(False)
        for key in sorted(self.working):
            self.answer(key, "one\n")
        for key in sorted(self.dead):
            self.revive(0, key)
        wanted = {(step, n) for step in self.flow for n in range(1, self.rounds + 1)}
        for _ in range(3 * len(wanted) + 3):
            self.advance(0)
            if not self.asked:
                break
            for key in sorted(self.asked):
                self.take(1, key)
                if key in self.working:
                    self.answer(key, "one\n")
        assert wanted <= self.replied.keys() and self.runs[0].done(), f"never replied: {wanted - self.replied.keys()}"
        for (step, n), (_, read) in self.replied.items():
            assert all(self.now(name, n) in (None, sha256) for name, sha256 in read.items()), f"{step} r{n} is stale"
