"""Kill everything of a pipeline that asks models, again and again, and count what its server was asked and was owed.

The server (tests/scripted) answers by the question alone, late, and now and then with 429, 500 or a cut connection.
The kills fall at random places of the work, told by how many replies there are, so that each finds something to break.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from agents.models.ledger import NAME, Tally
from agents.models.profile import Price
from tests import modelled
from tests.crash.calls_storm import Storm
from tests.crash.row import Row
from tests.scripted.fixture import Scripted

KILLS = {"llm": 40, "agent": 30, "supervisor": 15, "guard": 15}
QUICK_KILLS = {"llm": 4, "agent": 3, "supervisor": 2, "guard": 1}
LATENCY_S = {True: [0.02, 0.2], False: [0.05, 0.4]}
USD = 20.0  # what a hundred kills leave reserved for good fits it


def run(folder: Path, seed: int, quick: bool) -> Iterator[Row]:
    until, script = "40-filter" if quick else "80-improve", modelled.troubled(LATENCY_S[quick])
    with Scripted(folder / "calm-server", script) as server:
        calm = Storm(folder / "calm", server, until, USD, seed)
        calm.storm({}, 0)
    if calm.broken:
        yield Row("a pipeline that asks models gets done", "undisturbed", told(calm.broken, seed))
        return
    with Scripted(folder / "server", script) as server:
        killed = Storm(folder / "killed", server, until, USD, seed)
        killed.storm(QUICK_KILLS if quick else KILLS, len(calm.seen))
    said = ", ".join(f"{count} × {who}" for who, count in sorted(killed.kills.items()))
    where = f"{sum(killed.kills.values())} SIGKILLs ({said}), {len(killed.seen):,} calls"
    yield same_bytes(calm, killed, where, seed)
    yield once(calm, killed, seed)
    yield books(killed, seed)


def same_bytes(calm: Storm, killed: Storm, where: str, seed: int) -> Row:
    """The data set of the killed run beside that of the calm one; what was durable, and still is."""
    theirs, ours = modelled.made(calm.run), modelled.made(killed.run)
    now, wrong = killed.replies(), killed.broken + killed.left_over()  # first what explains the rest
    wrong += [f"reply {id} is lost or changed" for id, sha256 in killed.durable.items() if now.get(id) != sha256]
    wrong += [f"{name} differs" for name in sorted({*theirs, *ours}) if theirs.get(name) != ours.get(name)]
    promise = "a pipeline that asks models ends with the same data set, no reply lost or changed, whoever is killed"
    return Row(promise, f"{where}; {len(ours)} artifacts, the same bytes as undisturbed", told(wrong, seed))


def once(calm: Storm, killed: Storm, seed: int) -> Row:
    """How often questions were sent and billed."""
    again, twice, calls = killed.asked_again(), killed.billed_twice(), modelled.CONCURRENCY
    most = sum(killed.kills.values()) * calls
    wrong = [f"asked again after its reply: {one}" for one in again]
    wrong += [f"{twice} billed twice, more than {most}"] if twice > most else []
    wrong += [f"{calm.billed_twice()} billed twice with no kill"] if calm.billed_twice() else []
    return Row(
        "a question with a durable reply is never sent again, and a kill risks at most `concurrency` calls",
        f"{len(killed.rows()):,} requests reached the server ({len(calm.rows()):,} undisturbed); {len(killed.seen):,} "
        f"durable replies, none of them asked for again; {twice} answers billed a second time, {most} at most "
        f"({calls} at once)",
        told(wrong, seed),
    )


def books(killed: Storm, seed: int) -> Row:
    """What the ledger says was spent, beside what the server would bill."""
    price = Price(**modelled.PRICE)
    billed = sum(price.usd(row["tokens"]["input"], row["tokens"]["output"]) for row in killed.rows() if row["billed"])
    tally = Tally(killed.run / "llm" / NAME)
    spent = tally.look().usd
    wrong = [f"${billed:.4f} was billed, and ${spent:.4f} is booked"] if billed > spent else []
    wrong += [f"${spent:.4f} is booked, and the budget is ${USD:g}"] if spent > USD else []
    return Row(
        "what is billed is booked, and what is booked fits the budget, whoever is killed",
        f"${billed:.4f} billed, ${spent:.4f} booked as spent, ${USD:g} allowed; {len(tally.open)} attempts in flight "
        "at a kill stay reserved",
        told(wrong, seed),
    )


def told(wrong: list[str], seed: int) -> str:
    return f"{'; '.join(wrong[:3])} ({len(wrong)} in all, seed {seed})" if wrong else ""
