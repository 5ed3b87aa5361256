"""What became of a run's questions to models: who cannot be reached, what was given up and why, what steps lack."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from _look import show
from agents._ask import SERVICE
from agents.models.ledger import NAME as LEDGER
from agents.models.ledger import Tally
from bus import files, locks
from bus.mailbox import order
from bus.run import Run

BUDGET = "budget"  # the reason of a dead letter whose call did not fit a budget
RAISE = "raise"  # how the advice begins where this machine's config sets the budget, and not the goal
MAX_SAID = 160  # characters of a letter that stand within another line
PAID = "what was answered is not paid again"


def out_of_reach(beat: Mapping[str, Any] | None) -> list[tuple[str, float]]:
    """(`llm: cannot reach URL (why)`, seconds until the next try or 0) of each service whose endpoints are silent."""
    found = []
    for name, agent in (beat or {}).get("agents", {}).items():
        if "next_try_s" in (numbers := agent.get("numbers", {})):
            found.append((f"{name}: {agent.get('say', '')}", float(numbers["next_try_s"])))
    return found


def with_wait(line: str, wait_s: float) -> str:
    return f"{line}, {f'next try in {wait_s:.0f} s' if wait_s >= 0.5 else 'tried again now'}"


class Letters:
    """The calls of a run that were given up and not answered since. Each look reads only what is new."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.found: dict[str, tuple[str, str]] = {}  # ID: (why in a word, in a line)

    def look(self) -> dict[str, tuple[str, str]]:
        if SERVICE not in self.run.services:
            return {}
        box, before = self.run.mailbox(SERVICE), self.found
        ids = sorted((name.removesuffix(".json") for name in files.names(box.dead_fd) if name[0] != "."), key=order)
        self.found = {id: before.get(id) or letter(self.run, id) for id in ids if not box.answered(id)}
        return self.found

    def reasons(self) -> Counter[str]:
        return Counter(kind for kind, _ in self.found.values())

    def budgets(self) -> dict[str, str]:
        """{budget: the first line that tells of its end}, such as `usd`, `call.tokens`, `steps.30-generate.usd`."""
        told: dict[str, str] = {}
        for kind, message in self.found.values():
            if kind == BUDGET:
                told.setdefault(message.removeprefix("budget: ").partition(":")[0], message)
        return told


def letter(run: Run, id: str) -> tuple[str, str]:
    """(why in a word, in a line) of one call that was given up."""
    try:
        found = files.read_json(run.folder / SERVICE / "dead" / f"{id}.json")
        return str(found["kind"]), str(found["message"])
    except (OSError, files.BadFile, KeyError, TypeError) as error:
        return "unreadable", f"its letter cannot be read: {error}"


def budget_told(name: str, message: str, then: str) -> str:
    """One line of the end of a budget for model calls: which it is, what it stopped, how to go on.

    `then`: what comes after raising it.
    """
    scope = name.rpartition(".")[0]
    stopped = {"": "models were asked nothing more", "call": "questions as dear as that were left out"}
    what = stopped.get(scope, f"{scope.removeprefix('steps.')} asked models nothing more")
    said, _, advice = message.rpartition("; ")
    more = f"for more, {advice}{then}" if advice.startswith(RAISE) else advice
    return f"{said}: {what}, and the run goes on with what it has; {more}"


def again(run: Run) -> str:
    return f"bin/pipeline {shlex.quote(show(run.folder / 'goal.md'))}; {PAID}"


def dead_told(letters: Letters) -> Iterator[str]:
    """A line for each other reason for which calls were given up, with the first that tells it."""
    for kind, count in sorted(letters.reasons().items()):
        if kind != BUDGET:
            id, message = next((id, one[1]) for id, one in letters.found.items() if one[0] == kind)
            yield f"dead: {SERVICE}: {count:,} {kind}, the first is {id}: {message}"


def counted(run: Run, letters: Letters) -> list[str]:
    """What model calls come to: those given up, those in flight, tokens, dollars; nothing before the first."""
    reasons = ", ".join(f"{n:,} {kind}" for kind, n in letters.reasons().most_common())
    told = [f"{sum(letters.reasons().values()):,} dead ({reasons})"] if reasons else []
    tally = Tally(run.folder / SERVICE / LEDGER)
    spent = tally.look()
    if not tally.last:
        return told
    flying, lost = in_flight(run, tally)
    told.append(f"{flying:,} in flight")
    told += [f"{lost:,} reserved by agents that were killed"] if lost else []
    return [*told, f"{spent.tokens:,} tokens", f"${spent.usd:.4f}"]


def in_flight(run: Run, tally: Tally) -> tuple[int, int]:
    """(calls at a server now, reservations whose agent has died): an agent at work holds its request's lock."""
    box = run.mailbox(SERVICE)
    held = {id for id in {line["call"] for line in tally.open.values()} if locks.is_held(f"{id}.json", box.inbox_fd)}
    return len(held), len(tally.open) - len(held)


def lacking(run: Run) -> dict[tuple[str, str], Mapping[str, int]]:
    """{(step, ID): how many answers it went without, by why}, of the replies as they are."""
    replied, _ = run.listings()
    keys = sorted(replied, key=lambda key: (key[1], key[0]))
    return {(step, f"r{n}"): replied[step, n]["unanswered"] for step, n in keys if "unanswered" in replied[step, n]}


def told(run: Run, letters: Letters, done: bool) -> Iterator[str]:
    """All that a person must know of them, a line each: what was given up, the budgets that ended, what steps lack."""
    yield from dead_told(letters)
    without = lacking(run)
    if not done or any(BUDGET in why for why in without.values()):  # else they are of questions that nobody asks now
        then = "" if without else f", stop the run (touch {show(run.folder / 'supervisor' / 'STOP')}), {again(run)}"
        yield from (budget_told(name, message, then) for name, message in letters.budgets().items())
    yield from lacking_told(run, letters)


def lacking_told(run: Run, letters: Letters) -> Iterator[str]:
    """One line, if any step went without answers: which did, and how they are made anew with them.

    Only the first reply is to be removed: what was made of it goes with it, and is not made twice.
    """
    if not (found := lacking(run)):
        return
    counts = "; ".join(f"{step} {id} went without {answers(why)}" for (step, id), why in found.items())
    kinds = {kind for why in found.values() for kind in why}
    advice = [*letters.budgets().values(), f"; {RAISE} it in config/infra.yaml"][0].rpartition("; ")[2]
    if kinds == {BUDGET} and not advice.startswith(RAISE):
        yield f"{counts}; {advice}"
        return
    first = [advice.replace(f"{RAISE} it", f"{RAISE} the budget", 1)] * (BUDGET in kinds)
    if kinds != {BUDGET}:
        said = next((message for kind, message in letters.found.values() if kind != BUDGET), "see llm/dead")
        first.append(f"mend what kept them from being answered ({said[:MAX_SAID]})")
    step, id = next(iter(found))
    folder = shlex.quote(show(run.folder / step / "outbox" / id))
    yield f"{counts}; to have them, {', '.join(first)}, rm -r {folder}, {again(run)}"


def answers(why: Mapping[str, int]) -> str:
    """`1,020 answers (budget)`, or by reason where there are several."""
    total = sum(why.values())
    each = ", ".join(why) if len(why) == 1 else ", ".join(f"{n:,} {kind}" for kind, n in sorted(why.items()))
    return f"{total:,} answer{'s' if total > 1 else ''} ({each})"
