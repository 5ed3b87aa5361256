"""Races: many claimants, putters of the same ID, supervisors of one run; hung holders, and where locks do not reach."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.crash import storm_asking as asking
from tests.crash import storm_keepers as keepers
from tests.crash import storm_still as still
from tests.crash import storm_unlocked as unlocked
from tests.crash.kills import BOXES, figures, said
from tests.crash.row import Row
from tests.crash.storm_processes import apart

CLAIMANTS = 32


def run(folder: Path, seed: int, quick: bool) -> Iterator[Row]:
    yield claiming(folder / "claiming", quick)
    yield putting(folder / "putting", seed, quick)
    yield put_at_every_stop(folder / "stops")
    yield advancing(folder / "advancing", seed, quick)
    yield two_supervisors(folder / "two", seed, quick)
    yield hung(folder / "hung", seed, quick)
    for kind in BOXES:
        yield where_locks_do_not_reach(folder / "unlocked", kind, seed, quick)


def claiming(folder: Path, quick: bool) -> Row:
    count = 30 if quick else 500
    broken = [one for kind in BOXES for one in apart(asking.claiming, made(folder, kind), kind, CLAIMANTS, count)]
    return Row(
        "a request has one winner",
        f"{CLAIMANTS} claimants at once on {count} requests of a step, and as many of a service",
        said(broken, 0),
    )


def putting(folder: Path, seed: int, quick: bool) -> Row:
    count = 80 if quick else 1000
    found = [apart(asking.putting, made(folder, kind), kind, count, seed) for kind in BOXES]
    twice = sum(one["twice"] for one in found)
    return Row(
        "asking twice is asking once, and another question under the same ID is refused",
        f"4 putters with 1 to 4 contents for each of {count} IDs, each in an order of its own, while two agents "
        f"answer; a step and a service; {twice} times two heard that the same question is new, which was answered once",
        said([one for each in found for one in each["broken"]], seed),
    )


def put_at_every_stop(folder: Path) -> Row:
    found = [
        apart(still.put_at_every_stop, folder / f"{kind}-{same}", kind, same)
        for kind in BOXES
        for same in (True, False)
    ]
    stops = sum(one["stops"] for one in found)
    opened = apart(still.opening, folder / "opening")
    return Row(
        "… also if the ID was asked and answered by others while its putter stood still",
        f"{stops} stops before each call on files, the same question and another, a step and a service; two that make "
        f"the mailbox at once, at {opened['pairs']} pairs of stops",
        said([one for each in [*found, opened] for one in each["broken"]], 0),
    )


def advancing(folder: Path, seed: int, quick: bool) -> Row:
    rounds, edits, times = (2, 4, 1) if quick else (4, 25, 4)
    calm = apart(asking.advancing, folder / "calm", 2 * rounds, 0, seed)
    moving = [apart(asking.advancing, folder / f"edited-{n}", rounds, edits, seed + n) for n in range(times)]
    looks, aside = sum(one["looks"] for one in [calm, *moving]), sum(one["aside"] for one in moving)
    return Row(
        "looking twice at what is due adds nothing",
        f"{looks:,} looks of two processes at once, beside a third that works; {calm['put']} requests put, each once; "
        f"{aside} replies set aside and made again, as the goal changed {times * edits} times",
        said([one for each in [calm, *moving] for one in each["broken"]], seed),
    )


def two_supervisors(folder: Path, seed: int, quick: bool) -> Row:
    times = 1 if quick else 6
    found = apart(keepers.two_supervisors, folder, times, seed)
    return Row(
        "a run has one supervisor",
        f"bin/supervise beside another: exit 75; {times} times killed and two started at once: one went on, the other "
        f"75; {found['replies']} replies, none made by two at once, none changed",
        said(found["broken"], seed),
    )


def hung(folder: Path, seed: int, quick: bool) -> Row:
    times, kinds = (1, ["service"]) if quick else (3, list(BOXES))
    found = [apart(keepers.hung, made(folder, kind), kind, times, seed) for kind in kinds]
    return Row(
        "a holder that hangs is ended, and its work goes on; while it lives, nobody else has its claim",
        f"{times * len(kinds)} stopped by SIGSTOP, hung after {keepers.SILENT_S:g} s without a beat; taken up again in "
        f"{figures([one for each in found for one in each['seconds']])}",
        said([one for each in found for one in each["broken"]], seed),
    )


def where_locks_do_not_reach(folder: Path, kind: str, seed: int, quick: bool) -> Row:
    ends, sample = (unlocked.ENDS[:2], 10) if quick else (unlocked.ENDS, 10_000)  # more than there are
    found = apart(unlocked.everything, folder / kind, kind, ends, sample, seed)
    stops = ", ".join(f"{count} where its work ends with {end}" for end, count in found["stops"].items())
    return Row(
        f"two agents on one {kind}'s request give one reply, which never changes, also where locks do not reach",
        f"the first stopped before each of its calls on files, going on when the second had answered: {stops}; both "
        f"stopped, at {found['pairs']:,} pairs of calls",
        said(found["broken"], seed),
    )


def made(folder: Path, kind: str) -> Path:
    """A mailbox's place in a folder that is there."""
    folder.mkdir(exist_ok=True)
    return folder / BOXES[kind]
