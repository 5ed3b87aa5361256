"""Putters that stand still at each of their calls, while others ask, answer, and make the same mailbox."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.crash import storm_processes as processes
from tests.crash.storm_asking import answer, ask
from tests.crash.storm_stops import go_on, started, stopped
from tests.crash.storm_worker import box


def put_at_every_stop(folder: Path, kind: str, same: bool) -> dict[str, Any]:
    """Stop a putter before each of its calls; meanwhile another asks the same ID and is answered. To be run `apart`.

    Both find no mailbox, and make it. The same question is new to one of the two, or to both where it was answered
    between the one's look and its link, and is answered once; another question is refused.
    """
    broken: list[str] = []
    n = 1
    while True:
        here = folder / str(n) / "10-first"
        one = started(n, stopping_putter, here, kind)
        if not stopped(one):
            return {"stops": n - 1, "broken": broken}
        other = ask(here, kind, "m1", 0 if same else 1)
        with closing(box(here, kind)) as mailbox:
            answered = [answer(claim, kind) for claim in mailbox.claims()]
            go_on(one)
            late = [answer(claim, kind) for claim in mailbox.claims()]
            reply, left = mailbox.reply("m1"), mailbox.listing().requests
        heard = sorted([Path(f"{here}.heard").read_text(), other])
        if heard not in ([["new", "same"], ["new", "new"]] if same else [["conflict", "new"]]):
            broken.append(f"{kind}: stopped before call {n}, the two putters heard {heard}")
        if (answered + late).count(True) != 1 or reply is None or left:
            broken.append(f"{kind}: stopped before call {n}: answers {answered}, {late}, left {sorted(left)}")
        n += 1


def stopping_putter(count: Callable[[], None], folder: Path, kind: str) -> None:
    count()
    Path(f"{folder}.heard").write_text(ask(folder, kind, "m1", 0))


def opening(folder: Path) -> dict[str, Any]:
    """Two make the same mailbox, each stopping before each of its calls. To be run `apart`."""
    pairs, n = 0, 1
    try:
        while stops := stops_of_second(folder / str(n), n):
            pairs, n = pairs + stops, n + 1
    except RuntimeError as error:
        processes.clear()  # the other one may stand still
        return {"pairs": pairs, "broken": [f"the first stopped before call {n}: {error}"]}
    return {"pairs": pairs, "broken": []}


def stops_of_second(folder: Path, n: int) -> int:
    """How many stops the second has, while the first stands before its call n; 0 if it has no such call."""
    m = 1
    while stopped(one := started(n, opener, folder / str(m) / "10-first")):
        second = stopped(two := started(m, opener, folder / str(m) / "10-first"))
        go_on(one)
        if not second:
            return m
        go_on(two)
        m += 1
    return 0


def opener(count: Callable[[], None], folder: Path) -> None:
    count()
    box(folder, "step").close()
