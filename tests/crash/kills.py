"""SIGKILL at random moments: putters, workers, their supervisor; and the real programs, from bin/guard down."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.crash import storm_scenes as scenes
from tests.crash.row import Row
from tests.crash.storm import storm
from tests.crash.storm_guard import guarded
from tests.crash.storm_processes import apart

BOXES = {"step": "10-first", "service": "echo"}
# Of each kind of mailbox. A putter costs nothing to start again, a worker 0.1 s of CPU, a supervisor four times that.
PLAN = ["putter"] * 460 + ["worker"] * 200 + ["holder"] * 300 + ["supervisor"] * 50
QUICK_PLAN = ["putter"] * 61 + ["worker"] * 3 + ["holder"] * 6 + ["supervisor"]
TAKEN_UP_S = 1.0  # from the death of a claim's last holder; the poll is 0.5 s, and a worker starts in 0.2 s
BUSY = 3  # processes that want each core: what starts in 0.2 s needs a second then, whatever the bus does
HEIRS_S = 5.0  # where those who take it up were killed, too: a supervisor and a worker start, one after the other


def run(folder: Path, seed: int, quick: bool) -> Iterator[Row]:
    for kind in BOXES:
        yield from killed_at_random(folder / kind, kind, seed, quick)
    yield real_programs(folder / "guard", seed, quick)
    yield passed_on(folder / "child", seed, quick)
    yield poison(folder / "poison")
    yield poison_among_others(folder / "among", seed, quick)


def killed_at_random(folder: Path, kind: str, seed: int, quick: bool) -> Iterator[Row]:
    folder.mkdir()
    found = apart(storm, folder / BOXES[kind], kind, QUICK_PLAN if quick else PLAN, seed)
    killed = ", ".join(f"{count:,} × {who}" for who, count in sorted(found["kills"].items()))
    revived = f"; {found['revived']} killed five times in a row brought back" if found["revived"] else ""
    yield Row(
        f"a {kind}'s request is never lost, never answered twice, its reply whole and unchanged, whoever is killed",
        f"{sum(found['kills'].values()):,} SIGKILLs ({killed}), {found['acknowledged']:,} requests{revived}",
        said(found["broken"], seed),
    )
    alone, others = found["alone_s"], found["others_s"]
    yield Row(
        f"a {kind}'s work is taken up again within {TAKEN_UP_S:g} s of its holder's death",
        f"{len(alone)} holders killed alone: {figures(alone)}; {len(others)} whose supervisor or heirs were "
        f"killed, too, from the last of these: {figures(others)}{overloaded()}",
        late(alone, seed, quick) or late(others, seed, quick, HEIRS_S),
    )


def real_programs(folder: Path, seed: int, quick: bool) -> Row:
    folder.mkdir()
    plan = ["agent", "child", "supervisor"] if quick else ["agent"] * 6 + ["child"] * 4 + ["supervisor"] * 3
    found = apart(guarded, folder, 3 if quick else 12, plan, seed)
    killed = ", ".join(f"{count} × {who}" for who, count in sorted(found["kills"].items()))
    return Row(
        "a run under bin/guard gets done, with the same replies, whoever is killed in it",
        f"{killed}; with the back-off as shipped a claim is taken up again after an agent's first death in "
        f"{figures(found['first_s'])}, after later ones in {figures(found['later_s'])}",
        said(found["broken"], seed) or late(found["first_s"], seed, quick),
    )


def passed_on(folder: Path, seed: int, quick: bool) -> Row:
    folder.mkdir()
    count = 2 if quick else 25
    found = apart(scenes.passed_on, folder / "10-first", count, seed)
    return Row(
        "a claim that a child holds, too, is nobody else's until that child has ended as well",
        f"{count} agents killed, their children left to end or killed; taken up then in {figures(found['taken_up_s'])}",
        said(found["broken"], seed) or late(found["taken_up_s"], seed, quick),
    )


def poison(folder: Path) -> Row:
    folder.mkdir()
    found = [one for kind in BOXES for one in scenes.poison(folder / BOXES[kind], kind)]
    found += scenes.getting_on(folder / "20-second")
    return Row(
        "a request that kills each of its agents is given up after 5 deaths; one that gets on each time is not",
        "a step and a service, 5 deaths each, brought back, 5 more; a step that keeps something new, 10 deaths",
        "; ".join(found),
    )


def poison_among_others(folder: Path, seed: int, quick: bool) -> Row:
    folder.mkdir()
    back_off = "0.1" if quick else "1"
    found = [
        one for kind in BOXES for one in apart(scenes.poison_among_others, folder / BOXES[kind], kind, seed, back_off)
    ]
    return Row(
        "a poison request costs its agent five deaths and no other request anything",
        f"one supervised agent, {back_off} × the shipped back-off, 9 other requests before and 4 between the deaths: "
        "these answered, the poison dead, the agent not given up",
        said(found, seed),
    )


def figures(seconds: list[float]) -> str:
    """Median, p99 and maximum, in words."""
    if not seconds:
        return "no case"
    ordered = sorted(seconds)
    middle, p99 = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
    return f"median {middle:.2f}, p99 {p99:.2f}, max {ordered[-1]:.2f} s"


def late(seconds: list[float], seed: int, quick: bool, limit: float = TAKEN_UP_S) -> str:
    """What took too long; not judged in the short form, nor where the machine has too much else to do."""
    slow = [one for one in seconds if one > limit]
    if not slow or quick or overloaded():
        return ""
    load = os.getloadavg()[0]
    return f"{len(slow)} took longer than {limit:g} s, up to {max(slow):.2f} s (load {load:.1f}; seed {seed})"


def overloaded() -> str:
    """ "", or in words that times are not judged."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    return f"; not judged: a load of {load:.0f} on {cores} cores" if load > BUSY * cores else ""


def said(broken: list[Any], seed: int) -> str:
    """The first broken promises, with what is needed to see them again."""
    return f"{'; '.join(map(str, broken[:3]))} ({len(broken)} in all, seed {seed})" if broken else ""
