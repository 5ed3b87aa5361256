"""A quote as a document, and the document as lines for people."""

from __future__ import annotations

import _start

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from _tell import table
from agents._ask import SERVICE
from agents._config import Config
from agents._original import is_replayed
from agents.models.ledger import NAME as LEDGER
from agents.models.ledger import Tally
from agents.quoting.plan import ROLE
from agents.quoting.plan import total as amounts
from agents.quoting.quote import FIGURES, Quote, Range, verdicts
from agents.quoting.rates import COMPARED
from agents.quoting.sample import Sample, total
from bus.run import Run

ENDS = ("low", "expected", "high")
HEAD = ("step", "asks for", "calls", "tokens in", "tokens out", "dollars", "seconds")
RIGHT = frozenset(range(2, 7))
UNKNOWN = "unknown"
NOTHING = "No model is enabled: nothing will be asked, $0.00 for models. See `models:` in config/infra.yaml."


def as_document(made: Quote, config: Config, sample: Sample | None, run: Run | None) -> dict[str, Any]:
    """A quote as plain data; every range is {low, expected, high}, null where it is not known."""
    goal, plan = made.plan.ahead.goal, made.plan
    rows = [{"step": made.step_of(kind), "kind": kind, **figures(made, [kind])} for kind in plan.kinds]
    hours = made.gpu_hours(made.steps)
    minutes = named(Range(*(60 * one for one in hours))) if hours else None
    return {
        "goal": goal.name,
        "rounds": goal.rounds,
        "roles": [role_of(name, plan.who[name], sample) for name in dict.fromkeys(ROLE[kind] for kind in plan.kinds)],
        "kinds": rows,
        "steps": [
            {"step": one, **figures(made, made.kinds_of(one)), "wall_s": named(made.wall([one]))} for one in made.steps
        ],
        "total": {**figures(made, plan.kinds), "wall_s": named(made.wall(made.steps)), "gpu_minutes": minutes},
        "untimed": made.unknown_time(),
        "budgets": budgets(made, config),
        "pilot": piloted(sample, made) if sample else None,
        "run": about(run) if run else None,
        "replays": bool(run and is_replayed(run.folder)),
    }


def named(found: Range | None) -> dict[str, float] | None:
    return None if found is None else {end: round(value, 6) for end, value in zip(ENDS, found, strict=True)}


def figures(made: Quote, kinds: Sequence[str]) -> dict[str, Any]:
    return {name: named(made.figure(name, kinds)) for name in FIGURES}


def role_of(name: str, who: Any, sample: Sample | None) -> dict[str, Any]:
    """Whom a role asks, at which price, in USD per million tokens, and who answered a pilot, by profile."""
    price = who.profile.price
    known = {"input": price.input, "output": price.output, "cached": price.cached} if price else None
    return {
        "role": name,
        "profile": who.profile.name,
        "model": who.profile.model,
        "price": known,
        "price_from": who.price_from or None,
        "answered": spoke(name, sample) if sample else None,
    }


def spoke(role: str, sample: Sample) -> dict[str, int]:
    """How many answers each profile gave to a role's questions."""
    found = Counter(one.profile for kind, own in sample.answers.items() if ROLE[kind] == role for one in own)
    return dict(sorted(found.items()))


def budgets(made: Quote, config: Config) -> list[str]:
    """Each budget against the quote, in a line."""
    given = config.infra["budget"] or {}
    said = verdicts(made, config.budget(made.plan.ahead.goal.budget), given.get("steps") or {})
    call = given.get("call") or {}
    if made.plan.kinds and "tokens" in call:
        most = sum(made.plan.largest())
        word = "fits" if most <= call["tokens"] else "is more: such calls will not be made"
        said.append(f"budget call.tokens {call['tokens']:g}: the largest call may take {most:,}: {word}")
    if any("usd" in line for line in said) and any(not made.plan.profile(kind).price for kind in made.plan.kinds):
        said.append("a profile has no price, and a dollar budget stands: its calls will be refused; give it `price:`")
    return said


def piloted(sample: Sample, made: Quote) -> dict[str, Any]:
    """What a pilot asked, by kind, what was there before, what was paid now, and who stood in for others."""
    first = amounts(made.first_asked.values()).usd if made.first_asked else None
    every, paid = total(sample.every), sample.paid
    return {
        "calls": sample.calls,
        "kinds": {kind: len(found) for kind, found in sample.answers.items()},
        "reused": sample.again,
        "unanswered": sample.unanswered.total(),
        "useless": dict(sorted(Counter(one.error for one in sample.every if one.error).items())),
        "beside": len(sample.answers.get(COMPARED, ())),
        "usd": None if every is None else round(every, 6),
        "paid_now": None if paid is None else round(paid, 6),
        "passed_over": dict(sorted(sample.passed_over.items())),
        "usd_if_they_answer": None if first is None else round(first, 6),
        "stopped": sample.stopped or None,
    }


def about(run: Run) -> dict[str, Any]:
    """The run that the calls belong to, and what it has paid so far."""
    spent = Tally(run.folder / SERVICE / LEDGER).look()
    path = run.folder
    here = Path(_start.ROOT)
    shown = str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
    return {"folder": shown, "usd": round(spent.usd, 6), "tokens": spent.tokens}


# -- for people -----------------------------------------------------------------------------------------------


def lines(told: Mapping[str, Any]) -> Iterator[str]:
    """A quote's document as lines."""
    how = f"by a pilot of {told['pilot']['calls']} calls" if told["pilot"] else "before anything is asked"
    yield f"{told['goal']}: what a run will cost, {how}: expected (low to high)"
    for one in told["roles"]:
        yield f"role {one['role']}: {one['profile']} ({one['model']}), {price_told(one)}{answered_by(one)}"
    if told["replays"]:
        yield f"{told['run']['folder']} replays another run's calls: nothing will be asked, $0.00 for models."
    elif not told["roles"]:
        yield NOTHING
    else:
        rows = [(one["step"], one["kind"], *cells(one)) for one in told["kinds"]]
        yield from table([HEAD, *rows, ("all steps", "", *cells(told["total"]))], RIGHT)
        yield from held(told)
    yield from of_time(told)
    if told["rounds"] == "forever":
        yield "The goal goes on for ever: these are the figures of its first round."
    yield from told["budgets"]
    yield from of_pilot(told)


def price_told(role: Mapping[str, Any]) -> str:
    if not (price := role["price"]):
        return "price unknown: dollars cannot be told"
    cached = f", cached {price['cached']:g}" if price["cached"] is not None else ""
    said = f"${price['input']:g} in, {price['output']:g} out{cached} per million tokens"
    return (
        f"{said} (own, config/infra.yaml)"
        if role["price_from"].startswith("config")
        else f"{said} ({role['price_from']})"
    )


def answered_by(role: Mapping[str, Any]) -> str:
    """Who answered a role's questions, where that was another profile than the first."""
    others = {name: n for name, n in (role["answered"] or {}).items() if name != role["profile"]}
    if not others:
        return ""
    own = role["answered"].get(role["profile"], 0)
    said = ", ".join(f"{name} {n}" for name, n in others.items())
    return f"; of the pilot it answered {own}, {said}"


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    counts = tuple(span(row[name], "{:,.0f}") for name in ("calls", "input", "output"))
    return (*counts, span(row["usd"], "{:,.4f}"), span(row["seconds"], "{:,.0f}"))


def held(told: Mapping[str, Any]) -> Iterator[str]:
    """What budgets keep beside the tokens that are told."""
    if (found := told["total"]["held"]) and found["expected"] >= 1:
        yield f"tokens that stay reserved for attempts without an answer, their dollars above: {span(found, '{:,.0f}')}"


def span(found: Mapping[str, float] | None, form: str) -> str:
    """`1,200 (900 to 1,500)`, the middle alone where all are the same."""
    if found is None:
        return UNKNOWN
    low, middle, high = (form.format(found[end]) for end in ENDS)
    return middle if low == high else f"{middle} ({low} to {high})"


def of_time(told: Mapping[str, Any]) -> Iterator[str]:
    """Wall time and GPU time, with what is not in them."""
    total = told["total"]
    known = [one for one in told["steps"] if one["wall_s"]]
    if known:
        yield "minutes: " + ", ".join(f"{one['step']} {span(in_minutes(one['wall_s']), '{:,.1f}')}" for one in known)
    said = span(in_minutes(total["wall_s"]), "{:,.1f}")
    untimed = ", ".join(told["untimed"]) if len(told["untimed"]) < len(told["steps"]) else "the steps"
    more = f"; without the own work of {untimed}, which no earlier run here tells" if told["untimed"] else ""
    yield f"minutes in all: {said}{more}"
    yield f"GPU minutes: {span(total['gpu_minutes'], '{:,.1f}')}"


def in_minutes(found: Mapping[str, float] | None) -> dict[str, float] | None:
    return {end: value / 60 for end, value in found.items()} if found else None


def of_pilot(told: Mapping[str, Any]) -> Iterator[str]:
    """What a pilot did, or that one can be had."""
    run, pilot = told["run"], told["pilot"]
    if pilot:
        yield from of_answers(run["folder"], pilot)
        for name, why in pilot["passed_over"].items():
            yield f"{name} did not answer all that it was asked ({why}): the figures are those of who did."
        if pilot["passed_over"]:
            yield f"Where it answers all the rest of the run: {dollars(pilot['usd_if_they_answer'])} expected."
        unheard = [one["kind"] for one in told["kinds"] if one["kind"] not in pilot["kinds"]]
        if unheard:
            yield f"Not measured, so from low to high as assumed: {', '.join(unheard)}."
        return
    if run:
        yield f"{run['folder']} has spent ${run['usd']:.4f} and {run['tokens']:,} tokens of this already."
    if told["roles"]:
        yield "Tokens and dollars are told from bytes and rules of thumb; --pilot measures them."


def of_answers(folder: str, pilot: Mapping[str, Any]) -> Iterator[str]:
    """What a pilot's answers were, what they cost, and what becomes of them."""
    kinds = ", ".join(f"{n} {kind}" for kind, n in pilot["kinds"].items())
    yield f"The pilot's {pilot['calls']} answers ({kinds}; {dollars(pilot['usd'])}) are part of the figures above."
    if again := pilot["reused"]:
        yield f"{again} of them were there already and are not paid again; paid now: {dollars(pilot['paid_now'])}."
    yield f"They lie in {folder}/llm, a run that is not started: bin/pipeline goes on with it, and pays none again."
    if beside := pilot["beside"]:
        yield f"Only the {beside} comparisons are of stand-ins, and of no use to the run, which asks others."
    if pilot["useless"] or pilot["unanswered"]:
        bad = ", ".join(f"{n} {kind}" for kind, n in pilot["useless"].items())
        none = f"{pilot['unanswered']} questions had no answer" if pilot["unanswered"] else ""
        yield "Of no use: " + "; ".join(one for one in (bad, none) if one) + "."


def dollars(usd: float | None) -> str:
    return "unknown dollars" if usd is None else f"${usd:.4f}"
