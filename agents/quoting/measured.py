"""Rates from a pilot's answers.

What grows slower than the data set (different questions, families) is told from half of the sample and the whole of it
by Heaps' law; the rest are means and ratios.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from math import inf, log
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

from agents.asking import scenarios
from agents.quoting.curve import Growth, Yield, how_far
from agents.quoting.plan import ROLE, Plan
from agents.quoting.rates import COMPARED, JUDGED, MAP, SCENARIOS, STUDY, Price, Rates
from agents.quoting.sample import Sample, Sampled, Told, total
from agents.quoting.waves import fresh, known_by
from agents.teacher.mixture import mixed
from agents.teacher.pair import Pair
from agents.teacher.prompts import KINDS

SPLITS = 4  # of the sample into halves, by chance, that the growth is averaged over
SEEN = frozenset({MAP, STUDY, SCENARIOS, JUDGED})  # kinds of which a pilot also sees what earlier answers put into them

T = TypeVar("T")


class Counts(NamedTuple):
    """Of the pairs about some chunks: those that a judge hears, those that are taught, their exam wordings."""

    chunks: int
    heard: int
    taught: int
    exams: int


GROW = (("taught", "chunks"), ("heard", "chunks"), ("exams", "taught"))  # each grows with the other


def measured(plan: Plan, sample: Sample, base: Rates, mean: float) -> Rates:
    """`base` with all that the sample tells in its place; `mean` is how many pairs a chunk gave that `base` is of."""
    per_byte, output, seconds = dict(base.tokens_per_byte), dict(base.output), dict(base.seconds)
    foreign, held, paid = dict(base.foreign), dict(base.held), dict(base.paid)
    for kind, found in sample.answers.items():
        size = sum(one.bytes for one in found)
        per_byte[kind] = sum(one.input for one in found) / size
        output[kind] = fmean(one.output for one in found)
        seconds[kind] = fmean(one.seconds for one in found)
        held[kind] = fmean(one.held for one in found)
        paid[kind] = price(found)
        if kind in SEEN:
            foreign[kind] = size / len(found) - plan.known[kind].bytes
    if JUDGED in sample.answers and COMPARED not in sample.answers:  # the same words by the same model
        per_byte[COMPARED] = per_byte[JUDGED]
    batches = base.batches
    if groups := plan.counts.get(SCENARIOS, 0) / scenarios.lacking([]):  # a pilot asks all of them
        batches = len(sample.answers.get(SCENARIOS, ())) / groups or batches
    return replace(
        base,
        tokens_per_byte=per_byte,
        output=output,
        seconds=seconds,
        foreign=foreign,
        rich={**base.rich, **richness(sample.chunks, mean)},
        seen=sample.waves,
        batches=batches,
        measured=frozenset(sample.answers),
        paid=paid,
        held=held,
        by=answering(plan, sample),
        beside=len(sample.answers.get(COMPARED, ())),
    )


def whole(chunks: Sequence[Told]) -> list[Told]:
    """The chunks that were asked about in all kinds."""
    return [one for one in chunks if len(one.answers) == len(KINDS)]


def richness(chunks: Sequence[Told], mean: float) -> dict[str, float]:
    """How many pairs a chunk gives by the sort of its source, measured by `mean`: sources differ in what they hold."""
    by_sort = defaultdict[str, list[int]](list)
    for one in whole(chunks):
        by_sort[one.sort].append(len(one.pairs))
    return {sort: fmean(given) / mean for sort, given in by_sort.items()} if mean else {}


def price(found: Sequence[Sampled]) -> Price | None:
    """Dollars as they were paid, whoever answered; None where nobody knows them."""
    paid, asked = total(found), sum(one.usd_input for one in found)
    if paid is None:
        return None
    return Price(asked / max(1, sum(one.input for one in found)), (paid - asked) / len(found))


def answering(plan: Plan, sample: Sample) -> dict[str, str]:
    """{kind: the profile that will answer it} by the pilot: the one that answered its role most often."""
    spoke = {role: Counter[str]() for role in plan.who}
    for kind, found in sample.answers.items():
        spoke[ROLE[kind]].update(one.profile for one in found if one.profile in plan.enabled)
    return {kind: spoke[ROLE[kind]].most_common(1)[0][0] for kind in plan.kinds if spoke[ROLE[kind]]}


def grows(sample: Sample, rates: Rates, there: Sequence[dict[str, Any]], seed: int) -> Rates:
    """`rates` with what the sample tells of how many pairs that are taught, judgements and exam wordings there are.

    `there` are the examples that are cut from the sources: what they ask is asked nobody again.
    """
    told = [one.pairs for one in whole(sample.chunks)]
    if len(told) < 2 or not any(told):
        return rates
    chance, known = random.Random(seed), known_by(there)

    def counts(chunks: Sequence[Sequence[Pair]]) -> Counts:
        pairs = fresh([pair for own in chunks for pair in own], known)
        found = mixed(there, pairs, len(pairs), seed)
        exams = sum(one["use"] == "exam" and "made" in one for one in found.examples)
        return Counts(len(chunks), len(pairs), found.taught, exams)

    halves = [counts(half) for _ in range(SPLITS) for half in halved(told, chance)]
    every, far = counts(told), end_of(told)
    new, apart, exams = (growth(halves, every, *names) for names in GROW)
    return replace(rates, new=Yield(new, far), apart=Yield(apart, far), exams=exams)


def halved(listed: Sequence[T], chance: random.Random) -> tuple[list[T], list[T]]:
    """A list in two halves by chance: together they hold all, so that no rich chunk is counted twice or never."""
    mixed_up = chance.sample(listed, len(listed))
    return mixed_up[: len(listed) // 2], mixed_up[len(listed) // 2 :]


def end_of(chunks: Sequence[Sequence[Pair]]) -> float:
    """How far chunks are from being told out (see Yield), from what one of the kinds gives and all of them."""
    one = sum(questions([pair for pair in own if pair.example["kind"] == kind]) for own in chunks for kind in KINDS)
    every = sum(map(questions, chunks))
    return how_far(every * len(KINDS) / one) if one else inf


def growth(halves: Sequence[Counts], every: Counts, count: str, size: str) -> Growth:
    """How a count grows with a size, from random halves to the whole: by a power of 0 to 1."""
    half, of = (fmean(getattr(one, what) for one in halves) for what in (count, size))
    all, seen = getattr(every, count), getattr(every, size)
    power = log(all / half) / log(seen / of) if half and all and seen > of > 0 else 1.0
    return Growth(all / seen, float(seen), min(1.0, max(0.0, power))) if seen else Growth(0.0)


def questions(pairs: Sequence[Pair]) -> int:
    """How many different questions pairs ask."""
    return len(fresh(pairs, frozenset()))
