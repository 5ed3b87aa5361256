"""Scenes with one request: a claim that a child goes on holding, and a request that kills whoever works on it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from agents._run import tidy
from bus import files, locks, tries
from tests.crash import storm_processes as processes
from tests.crash.storm_supervised import Supervised
from tests.crash.storm_worker import box


def passed_on(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Kill a worker whose child holds the claim, too; then let the child end, or kill it. To be run `apart`."""
    chance, broken, taken_up_s = random.Random(seed), [], []
    supervised = Supervised(folder, "step", 2, seed)
    with closing(box(folder, "step")) as mailbox:
        supervised.start()
        for n in range(count):
            id = f"m{n}"
            mailbox.put(id, {"schema": "any.v1", "then": "child"})
            children: list[int] = []

            def shared(id: str = id, children: list[int] = children) -> bool:
                holders = supervised.holders(id)
                children[:] = [pid for one in holders for pid in processes.children(one)]
                return any(id in processes.holds(pid, folder / "inbox") for pid in children)

            processes.wait(shared, "a child holds the claim")
            [worker], [child] = supervised.holders(id), children
            processes.kill(worker)
            until = time.monotonic() + chance.uniform(0.0, 0.4)
            broken += held_by(supervised, id, child, until if chance.random() < 0.5 else until + processes.PATIENCE_S)
            processes.kill(child)
            ended = time.monotonic()
            processes.wait(lambda id=id: supervised.holders(id) or mailbox.answered(id), f"{id} is taken up again")
            taken_up_s.append(time.monotonic() - ended)
            processes.wait(lambda id=id: mailbox.answered(id), f"{id} is answered")
            processes.reap()
        broken += supervised.end()
    return {"taken_up_s": taken_up_s, "broken": broken}


def held_by(supervised: Supervised, id: str, child: int, until: float) -> list[str]:
    """Watch a claim that only a child holds, as long as it lives or until then; returns who else had it."""
    work = supervised.folder / "work" / id
    while time.monotonic() < until:
        others = [pid for pid in supervised.holders(id) if pid != child]  # which is a worker until its exec
        begun = [one for one in os.listdir(work) if one.startswith("try-")]
        free = not locks.is_held(supervised.folder / "inbox" / f"{id}.json")
        if not processes.has_files(child):
            break
        if others or free or begun != ["try-1"]:
            return [f"{id}: while a child held its claim: others {others}, free {free}, tries {begun}"]
        time.sleep(processes.LOOK_S)
    return []


def deaths_of(folder: Path, kind: str, keeps: bool, at_most: int) -> int:
    """How many workers one request kills before none takes it, up to `at_most`."""

    def victim() -> None:
        with closing(box(folder, kind)) as mailbox:
            tidy(mailbox)
            for claim in mailbox.claims():
                if kind == "step":
                    number = claim.begin().name
                    if keeps:
                        (claim.work / "kept" / number).touch()
                os.kill(os.getpid(), signal.SIGKILL)

    for count in range(at_most):
        code = os.waitstatus_to_exitcode(os.waitpid(processes.fork(victim), 0)[1])
        if code != -signal.SIGKILL:
            return count if code == 0 else -1
    return at_most


def poison(folder: Path, kind: str) -> list[str]:
    """A request that kills each of its workers; returns what was not as it should be."""
    with closing(box(folder, kind)) as mailbox:
        mailbox.put("m1", {"schema": "any.v1"})
        counts = [deaths_of(folder, kind, False, 2 * tries.DEATHS)]
        letter = files.read_json(folder / "dead/m1.json")
        found = [mailbox.state("m1"), letter["kind"], [one["kind"] for one in letter["tries"]]]
        mailbox.revive("m1")
        counts.append(deaths_of(folder, kind, False, 2 * tries.DEATHS))
        found.append((folder / "inbox/m1.json").exists())
    wanted = ["dead", "tries", ["death"] * tries.DEATHS, True]
    problems = [] if counts == [tries.DEATHS] * 2 else [f"{kind}: {counts} deaths until it was given up, and again"]
    return problems + ([] if found == wanted else [f"{kind}: {found}, not {wanted}"])


def getting_on(folder: Path) -> list[str]:
    """A step that is killed often, and keeps something new each time, is no poison."""
    with closing(box(folder, "step")) as mailbox:
        mailbox.put("m1", {"schema": "any.v1"})
        deaths, state = deaths_of(folder, "step", True, 2 * tries.DEATHS), mailbox.state("m1")
    return [] if (deaths, state) == (2 * tries.DEATHS, "failed") else [f"getting on: {deaths} deaths, then {state}"]


def poison_among_others(folder: Path, kind: str, seed: int, back_off: str) -> list[str]:
    """One worker, a poison among other requests, and one more request after each death. To be run `apart`."""
    supervised, others = Supervised(folder, kind, 1, seed, back_off=back_off), [f"m{n:02}" for n in range(10) if n != 5]
    with closing(box(folder, kind)) as mailbox:
        mailbox.put_many((id, {"schema": "any.v1"}) for id in others)
        mailbox.put("m05", {"schema": "any.v1", "then": "die"})
        supervised.start()
        for n in range(1, 2 * tries.DEATHS):
            processes.wait(lambda n=n: dead(folder) or deaths(supervised) >= n, f"{n} deaths")
            if dead(folder):
                break
            mailbox.put(f"a{n}", {"schema": "any.v1"})  # a shorter ID comes first: it is answered before the next death
            others.append(f"a{n}")
        processes.wait(lambda: mailbox.listing().replies >= set(others), f"all others are answered: {others}")
        problems = supervised.end()
        if (state := mailbox.state("m05")) != "dead" or deaths(supervised) != tries.DEATHS:
            problems.append(f"{kind}: the poison is {state} after {deaths(supervised)} deaths")
        if listing := mailbox.listing().dead - {"m05"}:
            problems.append(f"{kind}: given up, too: {sorted(listing)}")
    return problems


def dead(folder: Path) -> bool:
    return (folder / "dead/m05.json").exists()


def deaths(supervised: Supervised) -> int:
    with contextlib.suppress(files.BadFile):  # the last line is in the writing
        return sum(one["event"] == "ended" and one["how"] == "ended: SIGKILL" for one in supervised.events())
    return 0
