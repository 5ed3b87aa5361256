"""Moves and clocks: a busy run is copied at a random moment, and finished by another user, host, path and clock."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.crash import storm_moves as moves
from tests.crash.kills import said
from tests.crash.row import Row
from tests.crash.storm_machine import Machine, users

MOVES, QUICK_MOVES = 100, 3
SUPERVISED = 10  # one in so many is finished by the real bin/supervise and its agents, which start in 1 s of CPU
PROMISE = "a copy of a busy run, finished by another user, host, path and clock, gives the same replies"


def run(folder: Path, seed: int, quick: bool) -> Iterator[Row]:
    folder.chmod(0o755)  # until now no other user may look into it
    found, why = users(folder)
    if not found:
        yield Row(PROMISE, f"not tried: {why}")
        return
    chance, count, broken = random.Random(seed), QUICK_MOVES if quick else MOVES, []
    machine, did, held = Machine(folder / "other"), Counter[str](), []
    for n in range(count):
        disguise = moves.disguise(n, found, chance)
        copy = moves.busy(folder / f"move-{n}", moves.WAYS[n % len(moves.WAYS)], chance)
        whole = n % SUPERVISED == 1
        lost, problems = moves.finish(machine, copy, disguise, whole)
        broken += [f"move {n}: {one}" for one in problems]
        did.update([copy.way, disguise.user, "supervised" if whole else "served"])
        did.update({"asked": copy.asked, f"lost {copy.way}": lost})
        held.append(copy.replies)
    halfway = sum(0 < one < moves.REPLIES for one in held)
    yield Row(
        PROMISE,
        f"{did['pack']} × bin/pack --live, {did['sorted']} × tar --sort=name, {did['worst']} × a tar that reads each "
        f"outbox before its inbox (which lost {did['lost worst']} hand-put requests, and no other); {did['asked']} "
        f"asked by hand in all; with {min(held)} to {max(held)} of {moves.REPLIES} replies of steps, {halfway} copies "
        f"in the middle; {did['supervised']} finished by bin/supervise, {did['served']} by one process that is every "
        f"agent; {did['other'] + did['reader']} as another user, {did['mapped']} as another uid of a user namespace; "
        "time stamps, wall clock (while it worked) and monotonic clock a day off; bin/check each time"
        f"{f'; not tried: {why}' if why else ''}",
        said(broken, seed),
    )
